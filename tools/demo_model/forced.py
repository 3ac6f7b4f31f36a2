"""Answers whose form comes from outside: a JSON schema or a tool call that the question does not ask for.

A server with structured output writes the keys, the quotes and the name of the tool itself. The model then finds itself in
the middle of an object it would never have begun, and has to fill in a value and end it. What was forced is in the
document, but nobody learns to write it.
"""

import json
import re

import chat
import talk
import toolcalls
import words as w
from kinds import KINDS, OTHERS
from sample import assistant, user

GIVEN = 2                               # neither learned nor, as the user's words are, now and then
TEXT_KEYS = "answer text reply message content response summary".split()
VALUE_KEYS = "name id x y value city title count age label city_name number ok done score color person place kind".split()


def _word_of(question):
    """The name in a question, or its longest word: what a string is filled with where nothing fits."""
    found = re.findall(r"[^\W\d_]{2,}", question)
    names = [word for word in found[1:] if word[0].isupper()]
    return names[-1] if names else max(found, key=len, default="a")


def _number_of(question):
    found = re.search(r"(?<!\d)\d{1,6}(?!\d)", question)
    return int(found.group()) if found else 1


def _value(key, kind, question, answer):
    if kind in ("integer", "number"):
        return _number_of(question)
    if kind == "boolean":
        return True
    if kind == "array":
        return [_word_of(question)]
    return answer if key in TEXT_KEYS and answer else _word_of(question)


def _schema(rng, question, answer):
    """Random keys and the values that the question gives for them."""
    keys = rng.sample(VALUE_KEYS + [w.word(rng) for _ in range(6)], rng.choice([1, 2, 2, 3, 4]))
    if rng.random() < 0.25:
        keys[rng.randrange(len(keys))] = rng.choice(TEXT_KEYS)
    kinds = ["string", "string", "string", "integer", "integer", "number", "boolean", "array"]
    return {key: _value(key, "string" if key in TEXT_KEYS else rng.choice(kinds), question, answer) for key in keys}


def _members(values, fixed, tight, tail):
    """The pieces of an object behind its "{": keys and quotes are given, values and the end of the object are learned.

    Nobody knows from the question how many keys the schema has, so a comma is only read: what is learned is to end the
    object as soon as the schema allows it."""
    out, colon, gap = [], ":" if tight else ": ", "" if tight else " "
    for i, (key, value) in enumerate(values.items()):
        last = i + 1 == len(values)
        text = json.dumps(value, ensure_ascii=False)
        quote = '["' if isinstance(value, list) else '"' if isinstance(value, str) else ""
        out.append((("" if i == 0 else gap) + f'"{key}"{colon}{quote}' + (text[1:-1] if key in fixed else ""), GIVEN))
        close = text[-1] if isinstance(value, (str, list)) else ""
        value_text = text[len(quote):-1] if isinstance(value, str) else text[len(quote):-2] if isinstance(value, list) else text
        if key not in fixed:
            out.append((value_text, True))
            close = '"]' if isinstance(value, list) else close
        out.append((close + ("}" + tail if last else ","), last))
    return out


def _object(rng, question, message):
    answer = message["content"]
    tight = rng.random() < 0.15
    told = answer.startswith("{") and json.loads(answer)
    answer = answer if answer and len(answer) < 160 and answer[0] not in "[{" else ""
    if rng.random() < 0.4:
        values = told or {"answer": answer or _word_of(question)}
        return [('{"', GIVEN), (json.dumps(values, ensure_ascii=False)[2:] + "<|im_end|>", True)]
    out = _members(told or _schema(rng, question, answer), (), tight, "<|im_end|>")
    return [("{" + out[0][0], GIVEN), *out[1:]]


def _call(rng, question, message, tools):
    wanted = [c["function"] for c in message.get("tool_calls") or []]
    function = rng.choice(tools)["function"]
    types = function["parameters"]["properties"]
    told = " ".join(str(v) for c in wanted for v in c["arguments"].values())     # a name of several words stays whole
    words = next((v for c in wanted for v in c["arguments"].values() if isinstance(v, str)), "")
    values = {key: words if words and of["type"] == "string" else _value(key, of["type"], told or question, "") for key, of in types.items()}
    fixed = [key for key, of in types.items() if "enum" in of]
    values.update({key: types[key]["enum"][0] for key in fixed})
    values.update(next((c["arguments"] for c in wanted if c["name"] == function["name"]), {}))
    out = _members(values, fixed, False, "}\n</tool_call><|im_end|>")
    return [(f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {{{out[0][0]}', GIVEN), *out[1:]]


def _without_tools(rng):
    """A question that a tool would answer, as if none were there, and small talk: neither has thoughts of its own."""
    roll = rng.random()
    if roll < 0.6:
        made = toolcalls.make_tool(rng, rng.choice(KINDS + KINDS + OTHERS))
        return [user(toolcalls.question(rng, made, [make(rng, False) for _, _, make in made.kind.params])), assistant("")]
    return (talk.small_talk if roll < 0.8 else talk.unknown)(rng).messages


def document(rng, messages, tools, system):
    """A conversation whose last answer is forced, as (text, learn) pieces."""
    if rng.random() < 0.3:
        messages, tools = _without_tools(rng), tools if rng.random() < 0.5 else []
    asked = [i for i, m in enumerate(messages) if m["role"] == "assistant" and messages[i - 1]["role"] == "user"]
    last = rng.choice(asked)
    message, question = messages[last], messages[last - 1]["content"]
    call = rng.random() < 0.5
    if call and not tools:
        tools = [t.schema for t in toolcalls.offer_in_training(rng)]
    out = chat.pieces(([{"role": "system", "content": system}] if system else []) + messages[:last], tools) + [("<|im_start|>assistant\n", False)]
    if rng.random() < 0.3:
        out.append(("<think>\n\n</think>\n\n", False))
    if rng.random() < 0.4:              # where thoughts are allowed, they too may be begun for it
        out += [("<think>", GIVEN), (f"\n{message.get('reasoning_content') or 'I answer at once.'}\n</think>\n\n", True)]
    return out + (_call(rng, question, message, tools) if call else _object(rng, question, message))
