"""ChatML text of a conversation, cut into pieces that the model must learn to write and pieces it only reads.

The joined pieces are the bytes chat_template.jinja renders (check.py compares the two).
"""

import json

TOOLS_HEAD = "# Tools\n\nThese tools can be called:\n<tools>"
TOOLS_TAIL = "\n</tools>\n\nA call is written as:\n<tool_call>\n{\"name\": <name>, \"arguments\": <object>}\n</tool_call>"


def call_text(calls):
    return "\n".join('<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>' % (
        c["function"]["name"], json.dumps(c["function"]["arguments"], ensure_ascii=False)) for c in calls)


def answer_text(message, think=False):
    """What the assistant writes for this message, without the closing <|im_end|>."""
    text = message["content"]
    if message.get("tool_calls"):
        text += ("\n" if text else "") + call_text(message["tool_calls"])
    if think and message.get("reasoning_content"):
        text = f"<think>\n{message['reasoning_content']}\n</think>\n\n{text}"
    return text


def pieces(messages, tools=(), think=False):
    """List of (text, learn). With `think`, the last message is written with its thoughts."""
    out, system = [], ""
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    if tools:
        system += "\n\n" if system else ""
        system += TOOLS_HEAD + "".join("\n" + json.dumps(t, ensure_ascii=False) for t in tools) + TOOLS_TAIL
    if system:
        out.append((f"<|im_start|>system\n{system}<|im_end|>\n", False))
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            out.append(("<|im_start|>assistant\n", False))
            out.append((answer_text(message, think and i == len(messages) - 1) + "<|im_end|>", True))
            out.append(("\n", False))
        elif message["role"] == "tool":
            first = i == 0 or messages[i - 1]["role"] != "tool"
            last = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            out.append((("<|im_start|>user" if first else "") + f"\n<tool_response>\n{message['content']}\n</tool_response>" + ("<|im_end|>\n" if last else ""), False))
        else:
            out.append((f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n", False))
    return out


def prompt(messages, tools=(), thinking=None):
    """The text after which the assistant starts to write."""
    text = "".join(t for t, _ in pieces(messages, tools)) + "<|im_start|>assistant\n"
    if thinking is not None:
        text += "<think>\n" if thinking else "<think>\n\n</think>\n\n"
    return text
