"""Tools on offer, questions that need one of them, the call, the tool's result and the answer made from it.

Each tool is described by a Kind; a concrete tool picks one of its names, one name per parameter, and with some
probability leaves descriptions out, so the model must read the signature instead of learning a list of tools.
"""

import copy
import json
import re
from dataclasses import dataclass
from itertools import product

import words as w
from fresh import EARLIER_REQUESTS
from kinds import CITY, KINDS, OTHERS, Kind, done, integer, number, some_text
from sample import Sample, assistant, carry, plain, tool, user, vary
from toolwords import LEADS, TAILS

_VERBS = "check count find move lock open start stop scan sort paint book clean load print watch share track rate".split()


_LABELS = ["name", "id", "count", "label", "target", "value", "size", "group"]


def _invented(rng, like=None):
    """A tool nobody has seen before: its name and parameters come from random words. It may share a word with another."""
    verb, noun = rng.choice(_VERBS), w.word(rng)
    if like:
        verb, noun = (like[0], noun) if rng.random() < 0.5 else (verb, like[1])
    def maker():
        return rng.choice([("string", w.word), ("string", w.person), ("string", w.city), ("integer", integer(0, 999))])
    params = [(w.word(rng) if rng.random() < 0.2 else rng.choice(_LABELS), *maker()) for _ in range(rng.choice([1, 1, 2]))]
    if len(params) == 2 and params[0][0] == params[1][0]:
        params.pop()
    first, last = params[0][0], params[-1][0]
    if len(params) == 1:
        asks = [f"{verb} the {noun} {{0}}", f"{verb} {noun} {{0}}", f"please {verb} the {noun} for {{0}}", f"{verb} the {noun} of {{0}}", f"i want to {verb} the {noun} {{0}}", f"{verb} the {noun} with {first} {{0}}",
                f"!{verb} the {noun} {{for|of|with|}} {{0}}", f"!{verb} {noun} {{with|using|for}} {first} {{0}}", f"i {{need|have|must}} to {verb} the {noun} {{0}}", f"{verb} {noun}: {{0}}", f"for {{0}}, {verb} the {noun}"]
    else:
        asks = [f"{verb} the {noun} with {first} {{0}} and {last} {{1}}", f"{verb} {noun}, {first} {{0}}, {last} {{1}}", f"{verb} the {noun}: {last} {{1}}, {first} {{0}}",
                f"!{verb} {{the|a|}} {noun} {{with|using}} {first} {{0}} and {last} {{1}}", f"!{verb} {{the|}} {noun}, {last} {{1}}, {first} {{0}}", f"i want to {verb} the {noun} with {last} {{1}} and {first} {{0}}"]
    return Kind(f"{verb}_{noun}|{noun}_{verb}" if rng.random() < 0.5 else f"{verb}_{noun}", f"{verb.capitalize()}s the {noun}", params, asks, rng.choice([some_text, done("Done."), number("The result is {n}.")]))


@dataclass
class Tool:
    """A kind with its names fixed, and its JSON schema."""
    kind: Kind
    name: str
    keys: list
    schema: dict


def _explain(rng, key):
    """A parameter's description: some words that say little, as they often do."""
    return w.pick(rng, rng.choice(["{The|A} " + key, "{The|A} " + key + " {to use|of the request|for the call}", "{Name|Value} of the " + key, "{The|A} " + key + ", {e.g.|for example|such as} " + w.city(rng),
                                   w.word(rng) + " " + w.word(rng)])) + rng.choice(["", "", "."])


def _rename(rng, name):
    """The same tool under an odd name, as every program has its own: names must be read, not known."""
    made, parts = w.made_up_word(rng, 1, 2), name.split("_")
    return rng.choice([f"{made}_{name}", f"{name}_{made}", f"{name}_{made}", f"{name}{rng.randint(1, 9)}", f"{name}_v{rng.randint(1, 9)}", "_".join(parts[::-1]),
                       parts[0] + "".join(p.capitalize() for p in parts[1:]), "".join(p.capitalize() for p in parts), f"{made}.{name}", name.replace("_", "-")])


def _prefixed(rng, name):
    """An odd name that must be copied from its front and is known only by what comes later."""
    return w.made_up_word(rng, 1, rng.choice([1, 2, 2, 3])) + rng.choice("_ _ _ . . - __ /".split()) + name


def make_tool(rng, kind, odd=0.3):
    """A tool of this kind, renamed with the probability `odd`."""
    name, keys = rng.choice(kind.names.split("|")), [rng.choice(p[0].split("|")) for p in kind.params]
    if rng.random() < odd:
        name = _rename(rng, name)
    if len(keys) == 1 and rng.random() < 0.2:
        keys = [rng.choice([w.word(rng), f"{keys[0]}_{w.made_up_word(rng, 1, 1)}", f"{keys[0]}_name", "input", "arg"])]
    if len(set(keys)) < len(keys):
        return make_tool(rng, kind, odd)
    props = {}
    for key, (_, kind_of, _) in zip(keys, kind.params):
        prop = {"type": "string" if kind_of == "enum" else kind_of}
        if kind_of == "enum":
            prop["enum"] = ["celsius", "fahrenheit"] if key in ("unit", "units", "scale") else ["on", "off"]
        if rng.random() < 0.3:
            prop["description"] = _explain(rng, key)
            if rng.random() < 0.3:
                prop = dict(sorted(prop.items()))
        props[key] = prop
    function = {"name": name}
    if rng.random() < 0.75:
        function["description"] = w.pick(rng, kind.about) + rng.choice(["", "."])
    function["parameters"] = {"type": "object", "properties": props}
    if rng.random() < 0.8:
        function["parameters"]["required"] = keys
    if rng.random() < 0.12:
        function["parameters"]["additionalProperties"] = False
    if rng.random() < 0.1:
        function["strict"] = True
    return Tool(kind, name, keys, {"type": "function", "function": function})


def offer(rng, least=1, most=3, kinds=KINDS, odd=0.3):
    """Tools with different names and different jobs; `odd` as in make_tool."""
    chosen, seen = [], set()
    for kind in rng.sample(kinds, rng.randint(least, most)):
        kind = _invented(rng) if rng.random() < 0.25 else kind
        made = make_tool(rng, kind, odd)
        if kind.about not in seen and made.name not in [t.name for t in chosen]:
            if not ({kind.about} | seen) >= {KINDS[0].about, KINDS[1].about}:
                chosen.append(made)
                seen.add(kind.about)
    return chosen or offer(rng, least, most, kinds, odd)


def _odd(rng, made, front):
    """The same tool under a name and keys that must be read to the end: other tools on offer begin with `front` as well."""
    if "description" not in made.schema["function"]:
        return made
    odd = lambda: rng.choice([front + w.made_up_word(rng, 1, 2), w.made_up_word(rng, 2, 4), w.spliced_word(rng) + w.made_up_word(rng, 1, 1), f"{front}_{w.word(rng)}"])
    name = rng.choice([f"{front}_{made.name}", f"{front}.{made.name}", f"{made.name}_{front}", front + made.name.capitalize(), odd(), f"{odd()}_{odd()}"])
    alone = len(made.keys) == 1             # of two, the names must still say which is which
    keys = [key if rng.random() < 0.4 else odd() if alone else rng.choice([f"{front}_{key}", f"{key}_{front}"]) for key in made.keys]
    function = copy.deepcopy(made.schema["function"]) | {"name": name}
    parameters = function["parameters"]
    parameters["properties"] = dict(zip(keys, parameters["properties"].values()))
    if "required" in parameters:
        parameters["required"] = keys
    return Tool(made.kind, name, keys, {"type": "function", "function": function})


def offer_in_training(rng):
    """As offer(), from more kinds and with more odd names, above all such as begin oddly: a small model reads those worst.
    Now and then invented tools whose names have a word in common, or a common odd beginning."""
    most = rng.choices([1, 2, 3, 4, 5], [14, 26, 28, 20, 12])[0]
    chosen = offer(rng, most, most, KINDS + KINDS + OTHERS, odd=0.4)
    for made in chosen:
        if rng.random() < 0.25:
            made.name = made.schema["function"]["name"] = _prefixed(rng, made.name)
    if rng.random() < 0.3:
        verb, noun = rng.choice(_VERBS), w.word(rng)
        for _ in range(rng.choice([2, 2, 3])):
            made = make_tool(rng, _invented(rng, (verb, noun)))
            if made.kind.about not in [t.kind.about for t in chosen] and made.name not in [t.name for t in chosen]:
                chosen.append(made)
        chosen = rng.sample(chosen, len(chosen))[:5]
    if rng.random() < 0.25:
        front = w.made_up_word(rng, 1, 1)
        odd = [_odd(rng, made, front) for made in chosen]
        chosen = odd if len({t.name for t in odd}) == len(odd) else chosen
    return chosen


def expand(pattern):
    """All texts that w.pick() can make of a pattern."""
    parts = [part.split("|") for part in re.split("[{}]", pattern.replace("{0}", "\x00").replace("{1}", "\x01"))]
    return {plain(_values("".join(p), 0, 1)) for p in product(*parts)}


def _values(text, *values):
    return text.replace("\x00", str(values[0])).replace("\x01", str(values[-1]))


_HELD = [*(held for kind in KINDS for held in kind.held), *(earlier for asked in EARLIER_REQUESTS.values() for earlier in asked)]
HELD_QUESTIONS = {text for held in _HELD for text in expand(held)}


def question(rng, made, values, held=False, text=None):
    """A request for a tool; `text` is a pattern to use, if not given it is one of the kind's."""
    if held and not text and made.kind.held and rng.random() < 0.5:
        text = rng.choice(made.kind.held)
    while True:
        pattern = carry(rng, text or rng.choice(made.kind.asks)).replace("{0}", "\x00").replace("{1}", "\x01")
        asked = vary(rng, w.pick(rng, pattern), 0.1 if held else 0.4)
        if text or plain(_values(asked, 0, 1)) not in HELD_QUESTIONS:
            return _values(asked if held else _with_remarks(rng, asked), *values)


def _with_remarks(rng, asked):
    """The request after or before something that is said and asks for nothing."""
    if rng.random() < 0.14:
        lead = w.pick(rng, rng.choice(LEADS))
        lead = lead[0].upper() + lead[1:] if rng.random() < 0.6 else lead
        asked = lead + rng.choice([". ", ". ", ", ", ": ", " - ", "! "]) + (asked[0].lower() + asked[1:] if rng.random() < 0.4 else asked)
    if rng.random() < 0.1:
        tail = w.pick(rng, rng.choice(TAILS))
        asked += ("" if asked[-1] in ".?" else ".") + " " + (tail[0].upper() + tail[1:] if rng.random() < 0.7 else tail) + rng.choice([".", ".", "", "!"])
    return asked


def use(rng, tools, held=False, made=None, text=None):
    """One exchange in which one of the tools is called and its result used."""
    made = made or rng.choice(tools)
    values = [make(rng, held) for _, _, make in made.kind.params]
    calls = [(made.name, dict(zip(made.keys, values)))]
    asked = question(rng, made, values, held, text)
    result, answer = made.kind.result(rng, values)
    result = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    think = f"I call {made.name}."
    messages = [user(asked), assistant("", think, calls), tool(result), assistant(answer)]
    return Sample("tool", messages, [t.schema for t in tools])


def two_cities(rng, tools, held=False):
    """Two calls in one answer."""
    made = tools[0]
    a, b = w.city(rng, held), w.city(rng, held)
    (ra, aa), (rb, ab) = made.kind.result(rng, [a]), made.kind.result(rng, [b])
    thing = "weather" if made.kind is KINDS[0] else "time"
    question = vary(rng, rng.choice([f"what is the {thing} in {a} and {b}", f"what is the {thing} in {a} and in {b}", f"tell me the {thing} in {a} and {b}", f"compare the {thing} in {a} and {b}"]), 0.1)
    text = lambda r: r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)
    return Sample("tool_two", [user(question), assistant("", f"I call {made.name} twice.", [(made.name, {made.keys[0]: a}), (made.name, {made.keys[0]: b})]),
                               tool(text(ra)), tool(text(rb)), assistant(aa + " " + ab)], [t.schema for t in tools])


def two_cities_case(rng, held=True):
    first = make_tool(rng, rng.choice([KINDS[0], KINDS[2]]))
    rest = [t for t in offer(rng, 1, 2) if t.kind not in KINDS[:3] and t.name != first.name]
    return two_cities(rng, [first] + rest, held)


# ---- cases for the evaluation ----------------------------------------------------------------------------------

def use_invented(rng, held=True):
    """A tool with a made-up name among others."""
    made = make_tool(rng, _invented(rng))
    others = [t for t in offer(rng, 1, 2) if t.name != made.name]
    return use(rng, others + [made], held, made)


def weather_case(rng):
    """The classic of all tool demonstrations, with a schema as its callers write it."""
    city = w.city(rng, True)
    schema = {"type": "function", "function": {"name": "get_weather", "description": "Get the current weather in a given city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "The city name"}}, "required": ["city"]}}}
    question = rng.choice([f"What is the weather in {city}?", f"What's the weather like in {city} today?", f"Weather in {city}?", f"How is the weather in {city} right now?"])
    return Sample("tool", [user(question), assistant("", None, [("get_weather", {"city": city})])], [schema])
