"""Tools on offer, questions that need one of them, the call, the tool's result and the answer made from it.

Each tool is described by a Kind; a concrete tool picks one of its names, one name per parameter, and with some
probability leaves descriptions out, so the model must read the signature instead of learning a list of tools.
"""

import json
from dataclasses import dataclass

import words as w
from sample import Sample, assistant, tool, user, vary


@dataclass
class Kind:
    names: str          # possible tool names
    about: str          # description
    params: list        # (possible names, JSON type, value maker)
    asks: list          # questions; {0}, {1} stand for the values
    result: object      # (rng, values) -> (tool result, answer)
    held: tuple = ()    # questions kept for the evaluation


def _weather(rng, v):
    degrees, sky = rng.randint(-9, 38), rng.choice("sunny cloudy rainy windy foggy clear snowy stormy".split())
    result = rng.choice([{"temperature": degrees, "sky": sky}, {"temp": degrees, "condition": sky}, {"city": v[0], "temperature": degrees, "weather": sky},
                         {"condition": sky, "temperature": degrees}, f"{degrees} degrees, {sky}", f"{sky}, {degrees} C", {"temp_c": degrees, "conditions": sky}])
    return result, f"It is {degrees} degrees and {sky} in {v[0]}."


def _clock(rng, v):
    time = f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    return rng.choice([{"time": time}, time, {"city": v[0], "time": time}, {"local_time": time}]), f"It is {time} in {v[0]}."


def _number(answer, key="result"):
    def make(rng, v):
        n = rng.randint(2, 999)
        return rng.choice([{key: n}, str(n), {"value": n}, {"result": n}]), answer.format(*v, n=n)
    return make


def _maths(sign):
    def make(rng, v):
        n = v[0] + v[1] if sign == "+" else v[0] * v[1]
        return rng.choice([{"result": n}, str(n), {"value": n}, {"answer": n}]), f"The result is {n}."
    return make


def _done(answer):
    def make(rng, v):
        return rng.choice([{"status": "ok"}, "ok", {"status": "done"}, "done", {"success": True}]), answer.format(*v)
    return make


def _text(rng, v):
    text = " ".join(w.word(rng) for _ in range(rng.randint(2, 5)))
    return rng.choice([{"result": text}, text, {"text": text}]), f"The answer is: {text}."


def _phone(rng, v):
    number = f"555-{rng.randint(1000, 9999)}"
    return rng.choice([{"phone": number}, number, {"name": v[0], "phone": number}]), f"The number of {v[0]} is {number}."


def _phrase(rng, held):
    return " ".join(w.word(rng, held) for _ in range(rng.randint(1, 4)))


def _task(rng, held):
    verb = rng.choice("buy find clean paint fix bring sell wash open close feed water call pack".split())
    return f"{verb} {rng.choice(['the', 'a', 'my', 'some'])} {w.word(rng, held)}"


def _time(rng, held):
    return f"{rng.randint(0, 23):02d}:{rng.choice([0, 5, 10, 15, 20, 30, 40, 45, 50]):02d}"


def _file(rng, held):
    return w.word(rng, held) + rng.choice([".txt", ".md", ".csv", ".json", ".log"])


def _symbol(rng, held):
    return "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVWXYZ") for _ in range(rng.randint(3, 4)))


def _one_of(values):
    return lambda rng, held: rng.choice(values)


def _int(low, high):
    return lambda rng, held: rng.randint(low, high)


CITY = ("city|city|location|place|town", "string", w.city)
NAME = ("name|person|user|contact|to|recipient", "string", w.person)

KINDS = [
    Kind("get_weather|get_weather|weather|current_weather|get_current_weather|weather_report|fetch_weather", "{Gets|Get|Returns} the {current |}weather {for|in|of} a {city|place|location}", [CITY],
         ["what is the weather {in|like in} {0}", "how is the weather in {0} {today|now|right now|}", "what's the weather in {0}", "tell me the weather {in|for} {0}", "{is it raining|is it cold|is it warm|is it sunny|does it rain|is it snowing} in {0}", "weather in {0}", "how {warm|cold|hot} is it in {0}", "what is the temperature in {0}", "{i travel|i go} to {0}, {what is the weather|how is the weather|will it rain}", "do i need {an umbrella|a coat} in {0}"], _weather,
         held=("can you check the weather in {0} for me", "what are the conditions in {0}")),
    Kind("get_weather|weather|get_forecast|weather_in", "{Gets|Returns} the weather {for|in} a city", [CITY, ("unit|units|scale", "enum", _one_of(["celsius", "fahrenheit"]))],
         ["what is the weather in {0} in {1}", "tell me the temperature in {0} in {1}", "how {warm|cold} is it in {0} in {1}", "weather in {0}, in {1}", "give me the weather in {0} in degrees {1}"], _weather,
         held=("i would like the weather of {0} in {1}", "how many degrees {1} is it in {0}")),
    Kind("get_time|current_time|time_in|get_current_time|clock|local_time", "{Gets|Returns|Tells} the {current|local} time in a {city|place}", [(CITY[0] + "|timezone", "string", w.city)],
         ["what time is it in {0}", "tell me the time in {0}", "what is the {local |current |}time in {0}", "how late is it in {0}", "time in {0}", "is it {night|morning|late} in {0}"], _clock,
         held=("do you know what time it is in {0}", "what does the clock say in {0}")),
    Kind("add|add_numbers|sum|plus|calculate_sum", "{Adds|Sums} two numbers", [("a|x|first|left", "integer", _int(0, 999)), ("b|y|second|right", "integer", _int(0, 999))],
         ["what is {0} + {1}", "add {0} and {1}", "how much is {0} plus {1}", "what is the sum of {0} and {1}", "calculate {0} plus {1}", "what is {0} plus {1}"], _maths("+"),
         held=("could you add {0} to {1}", "i need the sum of the numbers {0} and {1}")),
    Kind("multiply|times|product|multiply_numbers", "Multiplies two numbers", [("a|x|first|left", "integer", _int(2, 99)), ("b|y|second|right", "integer", _int(2, 99))],
         ["what is {0} times {1}", "multiply {0} by {1}", "how much is {0} * {1}", "calculate {0} times {1}", "what is the product of {0} and {1}", "what is {0} multiplied by {1}"], _maths("*"),
         held=("could you multiply {0} with {1}", "i need the product of {0} and {1}")),
    Kind("send_message|message|send_text|send_sms", "Sends a message to a person", [NAME, ("text|message|body|content", "string", _phrase)],
         ["send {0} the message: {1}", "send a message to {0}: {1}", "write to {0}: {1}", "tell {0}: {1}", "message {0}: {1}", "send \"{1}\" to {0}", "text {0} that {1}"], _done("I sent your message to {0}."),
         held=("please let {0} know: {1}", "drop {0} a line saying {1}")),
    Kind("set_reminder|remind|add_reminder|create_reminder", "{Sets|Creates} a reminder", [("text|task|what|message", "string", _task), ("time|at|when", "string", _time)],
         ["remind me to {0} at {1}", "set a reminder to {0} at {1}", "at {1}, remind me to {0}", "please remind me at {1} to {0}", "i have to {0} at {1}, remind me"], _done("I will remind you to {0} at {1}."),
         held=("could you remind me at {1} that i must {0}", "make sure that i {0} at {1}")),
    Kind("set_timer|start_timer|timer", "{Starts|Sets} a timer", [("minutes|duration|time", "integer", _int(1, 120))],
         ["set a timer for {0} minutes", "start a {0} minute timer", "timer for {0} minutes", "wake me in {0} minutes", "tell me when {0} minutes are over"], _done("The timer is set for {0} minutes."),
         held=("give me {0} minutes on the timer", "i need a timer of {0} minutes")),
    Kind("search|web_search|search_web|find|lookup", "Searches {the web|the internet|documents}", [("query|q|text|term", "string", _phrase)],
         ["search for {0}", "search the web for {0}", "look up {0}", "find {0} on the web", "find something about {0}", "google {0}", "what can you find about {0}"], _text,
         held=("could you search for {0} online", "see what the web says about {0}")),
    Kind("translate|translate_text|translator", "Translates text into another language", [("text|word|phrase", "string", _phrase), ("language|target|to", "string", _one_of(w.LANGUAGES))],
         ["translate {0} to {1}", "translate \"{0}\" into {1}", "what is {0} in {1}", "how do you say {0} in {1}", "say {0} in {1}"], _text,
         held=("i need {0} in {1}", "please put {0} into {1}")),
    Kind("set_light|switch_light|light|control_light", "Switches a light on or off", [("room|place|where", "string", _one_of(w.ROOMS)), ("state|action|value", "enum", _one_of(["on", "off"]))],
         ["turn {1} the light in the {0}", "switch the light in the {0} {1}", "{0} light {1}", "turn the {0} light {1}", "please switch {1} the {0} light"], _done("The light in the {0} is {1}."),
         held=("could you turn the light {1} in the {0}", "i want the light {1} in the {0}")),
    Kind("play_music|play|play_song|music_player", "Plays music", [("artist|song|query|title", "string", lambda rng, held: w.person(rng, held) if rng.random() < 0.5 else _phrase(rng, held))],
         ["play {0}", "play music by {0}", "play something by {0}", "i want to hear {0}", "put on some {0}", "play a song by {0}"], _done("Now playing {0}."),
         held=("let me listen to {0}", "start some {0} please")),
    Kind("get_price|price|price_of|lookup_price", "{Gets|Returns|Looks up} the price of a product", [("product|item|article|name", "string", w.word)],
         ["how much is a {0}", "what is the price of a {0}", "what does a {0} cost", "price of a {0}", "how much does the {0} cost", "how expensive is a {0}"], _number("The price of {0} is {n}.", "price"),
         held=("tell me what a {0} costs", "what would i pay for a {0}")),
    Kind("get_population|population|population_of|count_people", "{Gets|Returns} the population of a {city|place}", [CITY],
         ["how many people live in {0}", "what is the population of {0}", "how big is {0}", "population of {0}", "how many inhabitants does {0} have"], _number("The population of {0} is {n}.", "population"),
         held=("what number of people lives in {0}", "how large is the population in {0}")),
    Kind("find_phone|get_phone|phone_book|lookup_contact|get_contact|find_user", "Finds the phone number of a person", [("name|person|contact|user", "string", w.person)],
         ["what is the phone number of {0}", "find the number of {0}", "how can i call {0}", "what is {0}'s phone number", "look up the phone number of {0}", "give me the number of {0}"], _phone,
         held=("i want to phone {0}, what is the number", "do you have the number of {0}")),
    Kind("read_file|open_file|load_file|cat", "Reads a {text |}file", [("path|file|filename|name", "string", _file)],
         ["read the file {0}", "what is in {0}", "open {0}", "show me the file {0}", "what does {0} say", "read {0}"], _text,
         held=("could you open {0} for me", "print the contents of {0}")),
    Kind("get_stock|stock_price|get_stock_price|quote", "{Gets|Returns} the price of a stock", [("symbol|ticker|stock", "string", _symbol)],
         ["what is the stock price of {0}", "how is {0} doing on the market", "stock price of {0}", "what is {0} trading at", "get the quote for {0}", "price of the stock {0}"], _number("The stock {0} is at {n}.", "price"),
         held=("what does one share of {0} cost", "how much is the stock {0} now")),
    Kind("find_flight|search_flights|flights|book_flight|find_train|search_trains", "{Finds|Searches|Books} a trip between two cities", [("from|origin|start|departure", "string", w.city), ("to|destination|end|arrival", "string", w.city)],
         ["find a {flight|trip|train} from {0} to {1}", "i want to {go|travel|fly} from {0} to {1}", "how do i get from {0} to {1}", "book a {trip|flight} from {0} to {1}", "search a {trip|flight} to {1} from {0}", "{flights|trips} from {0} to {1}"], _number("I found {n} trips from {0} to {1}.", "count"),
         held=("i need to get from {0} to {1}", "which connections are there from {0} to {1}")),
    Kind("book_table|reserve_table|book_restaurant|reserve", "{Books|Reserves} a table in a restaurant", [("restaurant|place|name|where", "string", w.person), ("people|guests|persons|seats", "integer", _int(1, 12))],
         ["book a table for {1} at {0}", "reserve a table at {0} for {1} people", "we are {1} people, book a table at {0}", "i need a table at {0} for {1}", "table for {1} at {0}"], _done("I booked a table for {1} at {0}."),
         held=("could you get us a table at {0} for {1} people", "dinner at {0} for {1}, please reserve")),
    Kind("convert|convert_currency|exchange|currency", "Converts {money|an amount} into another currency", [("amount|value|sum", "integer", _int(1, 900)), ("currency|to|target", "string", _one_of(["USD", "EUR", "GBP", "JPY", "CHF", "INR", "SEK", "CAD"]))],
         ["convert {0} euros to {1}", "how much is {0} dollars in {1}", "change {0} to {1}", "exchange {0} pounds into {1}", "what is {0} in {1}"], _number("That is {n} {1}.", "amount"),
         held=("i have {0} euros, how many {1} is that", "turn {0} into {1}")),
    Kind("add_todo|create_task|add_task|todo|new_note|add_note", "Adds {an entry to the list|a task|a note}", [("text|title|task|note", "string", _task)],
         ["add {0} to my list", "put \"{0}\" on my list", "new task: {0}", "note: {0}", "add a task: {0}", "i have to {0}, put it on my list"], _done("I added: {0}."),
         held=("please remember on my list: {0}", "write down that i must {0}")),
    Kind("get_user|get_order|get_ticket|find_order|order_status", "Looks up {an order|a ticket|a record} by number", [("id|number|order_id|order|ticket", "integer", _int(1, 99999))],
         ["what is the status of {order|ticket|number} {0}", "look up {order|ticket|number} {0}", "where is {order|ticket} {0}", "show me {order|ticket|number} {0}", "get {order|number} {0}"], _text,
         held=("tell me about {order|ticket|number} {0}", "check on {order|ticket|number} {0}")),
    Kind("roll_dice|throw_dice|dice", "Rolls dice", [("sides|faces", "integer", _int(4, 20))],
         ["roll a dice with {0} sides", "throw a {0} sided dice", "roll a d{0}", "give me a random roll with {0} sides"], _number("The dice shows {n}.", "roll"),
         held=("please roll one dice with {0} sides", "give me a dice throw, {0} sides")),
]

_VERBS = "check count find move lock open start stop scan sort paint book clean load print watch share track rate".split()


def _invented(rng):
    """A tool nobody has seen before: its name and parameters come from random words."""
    verb, noun = rng.choice(_VERBS), w.word(rng)
    def maker():
        return rng.choice([("string", w.word), ("string", w.person), ("string", w.city), ("integer", _int(0, 999))])
    params = [(rng.choice([w.word(rng), "name", "id", "count", "label", "target", "value", "size", "group"]), *maker()) for _ in range(rng.choice([1, 1, 2]))]
    if len(params) == 2 and params[0][0] == params[1][0]:
        params.pop()
    if len(params) == 1:
        asks = [f"{verb} the {noun} {{0}}", f"{verb} {noun} {{0}}", f"please {verb} the {noun} for {{0}}", f"{verb} the {noun} of {{0}}", f"i want to {verb} the {noun} {{0}}", f"{verb} the {noun} with {params[0][0]} {{0}}"]
    else:
        asks = [f"{verb} the {noun} with {params[0][0]} {{0}} and {params[1][0]} {{1}}", f"{verb} {noun}, {params[0][0]} {{0}}, {params[1][0]} {{1}}", f"{verb} the {noun}: {params[1][0]} {{1}}, {params[0][0]} {{0}}"]
    return Kind(f"{verb}_{noun}|{noun}_{verb}" if rng.random() < 0.5 else f"{verb}_{noun}", f"{verb.capitalize()}s the {noun}", params, asks, rng.choice([_text, _done("Done."), _number("The result is {n}.")]))


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


def make_tool(rng, kind):
    name, keys = rng.choice(kind.names.split("|")), [rng.choice(p[0].split("|")) for p in kind.params]
    if rng.random() < 0.3:
        name = _rename(rng, name)
    if len(keys) == 1 and rng.random() < 0.2:
        keys = [rng.choice([w.word(rng), f"{keys[0]}_{w.made_up_word(rng, 1, 1)}", f"{keys[0]}_name", "input", "arg"])]
    if len(set(keys)) < len(keys):
        return make_tool(rng, kind)
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


def offer(rng, least=1, most=3):
    """Tools with different names and different jobs."""
    chosen, seen = [], set()
    for kind in rng.sample(KINDS, rng.randint(least, most)):
        kind = _invented(rng) if rng.random() < 0.25 else kind
        made = make_tool(rng, kind)
        if kind.about not in seen and made.name not in [t.name for t in chosen]:
            if not ({kind.about} | seen) >= {KINDS[0].about, KINDS[1].about}:
                chosen.append(made)
                seen.add(kind.about)
    return chosen or offer(rng, least, most)


def _question(rng, made, values, held):
    asks = made.kind.held if held and made.kind.held and rng.random() < 0.5 else made.kind.asks
    text = w.pick(rng, rng.choice(asks).replace("{0}", "\x00").replace("{1}", "\x01"))
    text = vary(rng, text, 0.1 if held else 0.25)
    return text.replace("\x00", str(values[0])).replace("\x01", str(values[-1]))


def use(rng, tools, held=False, made=None):
    """One exchange in which one of the tools is called and its result used."""
    made = made or rng.choice(tools)
    values = [make(rng, held) for _, _, make in made.kind.params]
    calls = [(made.name, dict(zip(made.keys, values)))]
    question = _question(rng, made, values, held)
    result, answer = made.kind.result(rng, values)
    result = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    think = f"I call {made.name}."
    messages = [user(question), assistant("", think, calls), tool(result), assistant(answer)]
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
