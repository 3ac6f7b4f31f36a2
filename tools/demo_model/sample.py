"""The unit of training text: one exchange between user and assistant, possibly with tool calls."""

import re
from dataclasses import dataclass, field


@dataclass
class Sample:
    skill: str
    messages: list                              # OpenAI-style dicts: role, content, tool_calls, reasoning_content
    tools: list = field(default_factory=list)   # tools that must be on offer for this exchange
    system: str = ""                            # system prompt this exchange needs


def user(text):
    return {"role": "user", "content": text}


def assistant(text, think=None, calls=None):
    message = {"role": "assistant", "content": text}
    if think is not None:
        message["reasoning_content"] = think
    if calls:
        message["tool_calls"] = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in calls]
    return message


def tool(text):
    return {"role": "tool", "content": text}


def ask(skill, question, answer, think=None, system=""):
    return Sample(skill, [user(question), assistant(answer, think)], system=system)


def plain(text):
    """The words of a question alone, to compare two of them."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


# ---- carriers: what is wanted counts, not how the sentence begins ----------------------------------------------

_CARRIERS = {
    "!": ["", "", "", "please ", "can you ", "could you ", "would you ", "will you ", "i want you to ", "i would like you to ", "i need you to ", "can you please ", "could you please ", "would you please ",
          "kindly ", "you should ", "try to ", "it would be great if you could ", "your task: ", "next, ", "do me a favor and ", "go ahead and ", "first ", "let us ", "help me: ", "quickly ", "be so kind and ", "i am asking you to ", "just "],
    "@": ["", "", "what is ", "what's ", "tell me ", "i need ", "i want ", "give me ", "show me ", "get ", "get me ", "can i have ", "i would like to know ", "do you know ", "find out ", "check ", "could you tell me ", "let me know ",
          "look up ", "fetch ", "i want to see ", "i am interested in ", "report ", "what about ", "can you get me ", "could you find ", "can you look up ", "find ", "please check ", "i have to know ", "bring me ", "say ", "could i get ", "have a look at ", "return ", "read me ", "i am looking for ", "query "],
    "%": ["tell me ", "do you know ", "i wonder ", "can you tell me ", "could you find out ", "i want to know ", "please find out ", "i need to know ", "let me know ", "check ", "say ", "find out ", "i would like to know ", "would you tell me ", "i have no idea ", "any idea ", "please say ", "it would help to know ", "can you check ", "see ", "i was wondering "],
}


def carry(rng, pattern):
    """A pattern that starts with "!" is a command, with "@" the name of a thing, with "%" an indirect question."""
    return rng.choice(_CARRIERS[pattern[0]]) + pattern[1:] if pattern[0] in _CARRIERS else pattern


# ---- surface noise, so that small differences in wording do not matter -----------------------------------------

_BEFORE = ["please ", "hey, ", "hi, ", "hello, ", "ok, ", "so, ", "and ", "can you tell me: ", "i have a question: ", "tell me, ",
           "quick question: ", "well, ", "i wonder, ", "sorry, ", "now, ", "could you please tell me: ", "i would like to know: ", "um, "]
_AFTER = [" please", ", please", " exactly", " actually", " then", " again", " now", " right now", " at the moment", " currently", ", in short", " anyway", " thanks", " for me", " today",
          " tonight", " this evening", " quickly", " soon", " at once", " if you can"]


def _typo(rng, text):
    i = rng.randrange(len(text))
    if not text[i].isalpha():
        return text
    how = rng.randrange(3)
    if how == 0:
        return text[:i] + text[i + 1:]
    if how == 1:
        return text[:i] + text[i] + text[i:]
    return text[:i] + rng.choice("abcdefghijklmnoprstuvwy") + text[i + 1:]


_REWORD = [(phrase, alternatives.split("|")) for phrase, alternatives in [
    ("how do i", "how can i|how could i|how would i|how should i|how does one|how do you|is there a way to|what must i do to|what do i need to do to|i want to|i need to|i would like to|help me to|what is the way to|what's the best way to|how am i supposed to"),
    ("which command", "what command|is there a command that|what's the command that|what is the subcommand that|which subcommand|with which command|tell me which command"),
    ("which option", "what option|which flag|what flag|is there an option that|which parameter|which switch|what argument"),
    ("which", "what"), ("what is", "what's|whats|tell me|i want to know|please explain|can you explain|could you tell me"), ("what's", "what is"),
    ("can i", "could i|may i|am i able to|is it possible to|is it okay to"), ("do i need", "do i have to have|must i have|is it necessary to have|will i need|would i need"),
    ("does corral", "will corral|would corral|can corral|could corral|does it|does this program"), ("is corral", "is it|would you say corral is|is this program"),
    ("can corral", "is corral able to|could corral|will corral"), ("can you", "could you|are you able to|is it possible that you|will you|would you"),
    ("do you", "would you say you|can you|did you ever"), ("are you", "would you say you are|is it true that you are|do you happen to be"),
    ("use", "employ|work with|take"), ("start", "launch|fire up|bring up|begin"), ("run", "execute|start"), ("show", "display|present|print"), ("shows", "displays|prints|reveals|tells me"),
    ("see", "view|look at|find out|inspect"), ("make", "create|produce|build"), ("get", "obtain|have|receive"), ("measure", "determine|find out|check"), ("change", "alter|modify|adjust|switch"),
    ("supported", "possible|allowed|available"), ("support", "handle|accept|work with|understand"), ("need", "require|want"), ("needed", "required|necessary"), ("big", "large|huge"),
    ("model", "llm|language model"), ("models", "llms|language models"), ("tell me", "let me know|say|describe|explain"), ("explain", "describe|tell me about|clarify"), ("corral", "this program|it|the program"),
    ("the server", "corral's server|the http server|the service"), ("the demo model", "this demo model|this model|the small model"), ("commands", "subcommands|things i can type"), ("list", "name|enumerate|show|give me"),
]]


def reword(rng, text, chance=0.25):
    """Replaces phrases by others of the same meaning, so that no single wording carries a question."""
    text = f" {text} "
    for phrase, alternatives in rng.sample(_REWORD, len(_REWORD)):
        if f" {phrase} " in text and rng.random() < chance:
            text = text.replace(f" {phrase} ", f" {rng.choice(alternatives)} ", 1)
    return text.strip()


def slip(rng, text, chance=0.3):
    """Now and then a word is lost, swapped or misspelt. Only for questions without data that must be copied."""
    words = text.split(" ")
    if len(words) > 4 and rng.random() < chance * 0.6:
        del words[rng.randrange(len(words))]
    if len(words) > 4 and rng.random() < chance * 0.25:
        i = rng.randrange(len(words) - 1)
        words[i], words[i + 1] = words[i + 1], words[i]
    text = " ".join(words)
    return _typo(rng, text) if rng.random() < chance * 0.3 else text


def vary(rng, text, dress=0.3):
    """A question in one of many dresses: politeness, capitals, punctuation."""
    if rng.random() < dress * 0.7:
        text = rng.choice(_BEFORE) + text
    if rng.random() < dress * 0.5:
        text += rng.choice(_AFTER)
    if rng.random() < 0.7:
        text = text[:1].upper() + text[1:]
        text = text.replace("corral", "Corral").replace("`Corral", "`corral") if rng.random() < 0.8 else text
        text = text.replace(" i ", " I ") if rng.random() < 0.8 else text
    roll = rng.random()
    return text + ("?" if roll < 0.7 else "" if roll < 0.88 else ".")
