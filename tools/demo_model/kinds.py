"""Kinds of tools: their possible names, descriptions and parameters, the questions that need them, their results."""

from dataclasses import dataclass

import toolasks
import toolwords
import wordings
import words as w


@dataclass
class Kind:
    names: str          # possible tool names
    about: str          # description
    params: list        # (possible names, JSON type, value maker)
    asks: list          # questions; {0}, {1} stand for the values; see toolasks.py
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


def number(answer, key="result"):
    def make(rng, v):
        n = rng.randint(2, 999)
        return rng.choice([{key: n}, str(n), {"value": n}, {"result": n}]), answer.format(*v, n=n)
    return make


def _maths(sign):
    def make(rng, v):
        n = v[0] + v[1] if sign == "+" else v[0] * v[1]
        return rng.choice([{"result": n}, str(n), {"value": n}, {"answer": n}]), f"The result is {n}."
    return make


def done(answer):
    def make(rng, v):
        return rng.choice([{"status": "ok"}, "ok", {"status": "done"}, "done", {"success": True}]), answer.format(*v)
    return make


def some_text(rng, v):
    text = " ".join(w.word(rng) for _ in range(rng.randint(2, 5)))
    return rng.choice([{"result": text}, text, {"text": text}]), f"The answer is: {text}."


def _phone(rng, v):
    number = f"555-{rng.randint(1000, 9999)}"
    return rng.choice([{"phone": number}, number, {"name": v[0], "phone": number}]), f"The number of {v[0]} is {number}."


def _phrase(rng, held):
    return " ".join(w.several(rng, held, 1, 4))


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


def integer(low, high):
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
    Kind("add|add_numbers|sum|plus|calculate_sum", "{Adds|Sums} two numbers", [("a|x|first|left", "integer", integer(0, 999)), ("b|y|second|right", "integer", integer(0, 999))],
         ["what is {0} + {1}", "add {0} and {1}", "how much is {0} plus {1}", "what is the sum of {0} and {1}", "calculate {0} plus {1}", "what is {0} plus {1}"], _maths("+"),
         held=("could you add {0} to {1}", "i need the sum of the numbers {0} and {1}")),
    Kind("multiply|times|product|multiply_numbers", "Multiplies two numbers", [("a|x|first|left", "integer", integer(2, 99)), ("b|y|second|right", "integer", integer(2, 99))],
         ["what is {0} times {1}", "multiply {0} by {1}", "how much is {0} * {1}", "calculate {0} times {1}", "what is the product of {0} and {1}", "what is {0} multiplied by {1}"], _maths("*"),
         held=("could you multiply {0} with {1}", "i need the product of {0} and {1}")),
    Kind("send_message|message|send_text|send_sms", "Sends a message to a person", [NAME, ("text|message|body|content", "string", _phrase)],
         ["send {0} the message: {1}", "send a message to {0}: {1}", "write to {0}: {1}", "tell {0}: {1}", "message {0}: {1}", "send \"{1}\" to {0}", "text {0} that {1}"], done("I sent your message to {0}."),
         held=("please let {0} know: {1}", "drop {0} a line saying {1}")),
    Kind("set_reminder|remind|add_reminder|create_reminder", "{Sets|Creates} a reminder", [("text|task|what|message", "string", _task), ("time|at|when", "string", _time)],
         ["remind me to {0} at {1}", "set a reminder to {0} at {1}", "at {1}, remind me to {0}", "please remind me at {1} to {0}", "i have to {0} at {1}, remind me"], done("I will remind you to {0} at {1}."),
         held=("could you remind me at {1} that i must {0}", "make sure that i {0} at {1}")),
    Kind("set_timer|start_timer|timer", "{Starts|Sets} a timer", [("minutes|duration|time", "integer", integer(1, 120))],
         ["set a timer for {0} minutes", "start a {0} minute timer", "timer for {0} minutes", "wake me in {0} minutes", "tell me when {0} minutes are over"], done("The timer is set for {0} minutes."),
         held=("give me {0} minutes on the timer", "i need a timer of {0} minutes")),
    Kind("search|web_search|search_web|find|lookup", "Searches {the web|the internet|documents}", [("query|q|text|term", "string", _phrase)],
         ["search for {0}", "search the web for {0}", "look up {0}", "find {0} on the web", "find something about {0}", "google {0}", "what can you find about {0}"], some_text,
         held=("could you search for {0} online", "see what the web says about {0}")),
    Kind("translate|translate_text|translator", "Translates text into another language", [("text|word|phrase", "string", _phrase), ("language|target|to", "string", _one_of(w.LANGUAGES))],
         ["translate {0} to {1}", "translate \"{0}\" into {1}", "what is {0} in {1}", "how do you say {0} in {1}", "say {0} in {1}"], some_text,
         held=("i need {0} in {1}", "please put {0} into {1}")),
    Kind("set_light|switch_light|light|control_light", "Switches a light on or off", [("room|place|where", "string", _one_of(w.ROOMS)), ("state|action|value", "enum", _one_of(["on", "off"]))],
         ["turn {1} the light in the {0}", "switch the light in the {0} {1}", "{0} light {1}", "turn the {0} light {1}", "please switch {1} the {0} light"], done("The light in the {0} is {1}."),
         held=("could you turn the light {1} in the {0}", "i want the light {1} in the {0}")),
    Kind("play_music|play|play_song|music_player", "Plays music", [("artist|song|query|title", "string", lambda rng, held: w.person(rng, held) if rng.random() < 0.5 else _phrase(rng, held))],
         ["play {0}", "play music by {0}", "play something by {0}", "i want to hear {0}", "put on some {0}", "play a song by {0}"], done("Now playing {0}."),
         held=("let me listen to {0}", "start some {0} please")),
    Kind("get_price|price|price_of|lookup_price", "{Gets|Returns|Looks up} the price of a product", [("product|item|article|name", "string", w.word)],
         ["how much is a {0}", "what is the price of a {0}", "what does a {0} cost", "price of a {0}", "how much does the {0} cost", "how expensive is a {0}"], number("The price of {0} is {n}.", "price"),
         held=("tell me what a {0} costs", "what would i pay for a {0}")),
    Kind("get_population|population|population_of|count_people", "{Gets|Returns} the population of a {city|place}", [CITY],
         ["how many people live in {0}", "what is the population of {0}", "how big is {0}", "population of {0}", "how many inhabitants does {0} have"], number("The population of {0} is {n}.", "population"),
         held=("what number of people lives in {0}", "how large is the population in {0}")),
    Kind("find_phone|get_phone|phone_book|lookup_contact|get_contact|find_user", "Finds the phone number of a person", [("name|person|contact|user", "string", w.person)],
         ["what is the phone number of {0}", "find the number of {0}", "how can i call {0}", "what is {0}'s phone number", "look up the phone number of {0}", "give me the number of {0}"], _phone,
         held=("i want to phone {0}, what is the number", "do you have the number of {0}")),
    Kind("read_file|open_file|load_file|cat", "Reads a {text |}file", [("path|file|filename|name", "string", _file)],
         ["read the file {0}", "what is in {0}", "open {0}", "show me the file {0}", "what does {0} say", "read {0}"], some_text,
         held=("could you open {0} for me", "print the contents of {0}")),
    Kind("get_stock|stock_price|get_stock_price|quote", "{Gets|Returns} the price of a stock", [("symbol|ticker|stock", "string", _symbol)],
         ["what is the stock price of {0}", "how is {0} doing on the market", "stock price of {0}", "what is {0} trading at", "get the quote for {0}", "price of the stock {0}"], number("The stock {0} is at {n}.", "price"),
         held=("what does one share of {0} cost", "how much is the stock {0} now")),
    Kind("find_flight|search_flights|flights|book_flight|find_train|search_trains", "{Finds|Searches|Books} a trip between two cities", [("from|origin|start|departure", "string", w.city), ("to|destination|end|arrival", "string", w.city)],
         ["find a {flight|trip|train} from {0} to {1}", "i want to {go|travel|fly} from {0} to {1}", "how do i get from {0} to {1}", "book a {trip|flight} from {0} to {1}", "search a {trip|flight} to {1} from {0}", "{flights|trips} from {0} to {1}"], number("I found {n} trips from {0} to {1}.", "count"),
         held=("i need to get from {0} to {1}", "which connections are there from {0} to {1}")),
    Kind("book_table|reserve_table|book_restaurant|reserve", "{Books|Reserves} a table in a restaurant", [("restaurant|place|name|where", "string", w.person), ("people|guests|persons|seats", "integer", integer(1, 12))],
         ["book a table for {1} at {0}", "reserve a table at {0} for {1} people", "we are {1} people, book a table at {0}", "i need a table at {0} for {1}", "table for {1} at {0}"], done("I booked a table for {1} at {0}."),
         held=("could you get us a table at {0} for {1} people", "dinner at {0} for {1}, please reserve")),
    Kind("convert|convert_currency|exchange|currency", "Converts {money|an amount} into another currency", [("amount|value|sum", "integer", integer(1, 900)), ("currency|to|target", "string", _one_of(["USD", "EUR", "GBP", "JPY", "CHF", "INR", "SEK", "CAD"]))],
         ["convert {0} euros to {1}", "how much is {0} dollars in {1}", "change {0} to {1}", "exchange {0} pounds into {1}", "what is {0} in {1}"], number("That is {n} {1}.", "amount"),
         held=("i have {0} euros, how many {1} is that", "turn {0} into {1}")),
    Kind("add_todo|create_task|add_task|todo|new_note|add_note", "Adds {an entry to the list|a task|a note}", [("text|title|task|note", "string", _task)],
         ["add {0} to my list", "put \"{0}\" on my list", "new task: {0}", "note: {0}", "add a task: {0}", "i have to {0}, put it on my list"], done("I added: {0}."),
         held=("please remember on my list: {0}", "write down that i must {0}")),
    Kind("get_user|get_order|get_ticket|find_order|order_status", "Looks up {an order|a ticket|a record} by number", [("id|number|order_id|order|ticket", "integer", integer(1, 99999))],
         ["what is the status of {order|ticket|number} {0}", "look up {order|ticket|number} {0}", "where is {order|ticket} {0}", "show me {order|ticket|number} {0}", "get {order|number} {0}"], some_text,
         held=("tell me about {order|ticket|number} {0}", "check on {order|ticket|number} {0}")),
    Kind("roll_dice|throw_dice|dice", "Rolls dice", [("sides|faces", "integer", integer(4, 20))],
         ["roll a dice with {0} sides", "throw a {0} sided dice", "roll a d{0}", "give me a random roll with {0} sides"], number("The dice shows {n}.", "roll"),
         held=("please roll one dice with {0} sides", "give me a dice throw, {0} sides")),
]

for _kind in KINDS:
    _name = _kind.names.split("|")[-1]
    _kind.asks += toolasks.MORE[_name] + wordings.TOOLS[_name] + toolwords.TOOLS[_name]

_PLAIN = [
    ("get_news|news|latest_news|headlines", "{Gets|Returns} the news about a {topic|subject}", [("topic|subject|about|query", "string", _phrase)], ["@the {news|headlines|latest news} {about|on} {0}", "{news|headlines}: {0}", "what is new {about|in|on} {0}", "what happened {with|to} {0}"], some_text),
    ("send_email|email|mail|write_email", "Sends an email", [("to|recipient|address|name", "string", w.person), ("subject|body|text", "string", _phrase)], ["!{send|write} an email to {0} about {1}", "!{email|mail} {0}: {1}", "email to {0}, subject {1}", "!mail {0} about {1}", "write {0} an email with the text {1}"], done("I sent the email to {0}.")),
    ("delete_file|remove_file|delete|rm", "Deletes a file", [("path|file|filename|name", "string", _file)], ["!{delete|remove|erase|throw away} {the file |}{0}", "!get rid of {0}", "i do not need {0} any more, {delete it|remove it}", "{0} can go, delete it"], done("{0} is gone.")),
    ("rename_file|rename|move_file|mv", "Renames a file", [("from|old|source|path", "string", _file), ("to|new|target|destination", "string", _file)], ["!{rename|move} {0} to {1}", "!give {0} the name {1}", "{0} should be called {1}", "!move the file {0} to {1}"], done("{0} is now {1}.")),
    ("create_event|add_event|calendar|schedule_meeting", "Adds an event to the calendar", [("title|event|what|name", "string", _phrase), ("time|at|start", "string", _time)], ["!{add|put} {0} at {1} {to|into} my calendar", "!{schedule|plan} {0} {at|for} {1}", "meeting at {1}: {0}", "at {1} there is {0}, put it in the calendar", "calendar: {0} at {1}"], done("{0} is in your calendar at {1}.")),
    ("calculate_difference|subtract|minus|difference", "Subtracts two numbers", [("a|x|first|left", "integer", integer(0, 999)), ("b|y|second|right", "integer", integer(0, 999))], ["!subtract {0} and {1}", "@{0} minus {1}", "@{0} - {1}", "@the difference of {0} and {1}", "!take {1} from {0}", "how much is {0} less {1}"], number("The result is {n}.")),
    ("divide|division|divide_numbers|quotient", "Divides two numbers", [("a|x|dividend|first", "integer", integer(2, 999)), ("b|y|divisor|second", "integer", integer(2, 99))], ["!divide {0} by {1}", "@{0} divided by {1}", "@{0} / {1}", "!split {0} into {1} parts", "how often does {1} fit into {0}"], number("The result is {n}.")),
    ("random_number|get_random|random", "Returns a random number", [("max|limit|upper|to", "integer", integer(2, 999))], ["@a random number {up to|below|under|not above} {0}", "!pick a number {up to|below} {0}", "random number to {0}", "!choose any number up to {0}"], number("The number is {n}.")),
    ("get_distance|distance|how_far|measure_distance", "{Gets|Returns} the distance between two places", [("from|start|origin|a", "string", w.city), ("to|end|destination|b", "string", w.city)], ["@the distance {from|between} {0} {to|and} {1}", "how far is {it from |}{0} {to|from} {1}", "%how far {1} is from {0}", "how many {miles|kilometers} {from|is it from} {0} to {1}", "{0} to {1}, how far"], number("It is {n} km from {0} to {1}.", "km")),
    ("find_hotel|search_hotels|hotels|book_hotel", "{Finds|Searches} hotels in a {city|place}", [CITY], ["!{find|search|book} {me |}{a hotel|hotels|a room} in {0}", "i {need|want} {a hotel|a room|a bed} in {0}", "where can i {sleep|stay} in {0}", "hotels in {0}", "i stay in {0} tonight, find a hotel"], number("I found {n} hotels in {0}.", "count")),
    ("find_restaurant|search_restaurants|restaurants|places_to_eat", "Finds restaurants in a {city|place}", [CITY], ["!{find|search|recommend} {me |}{a restaurant|restaurants|a place to eat} in {0}", "where can i eat in {0}", "i am hungry in {0}", "restaurants in {0}", "@a good restaurant in {0}"], number("I found {n} restaurants in {0}.", "count")),
    ("get_capital|capital|capital_of", "Returns the capital of a country", [("country|land|state|name", "string", w.city)], ["@the capital {of|city of} {0}", "capital of {0}", "which city is the capital of {0}", "%which city governs {0}"], some_text),
    ("define|dictionary|get_definition|define_word", "Looks up the meaning of a word", [("word|term|text", "string", w.word)], ["!{define|explain} {the word |}{0}", "@the {meaning|definition} of {0}", "what does {0} mean", "%what {0} means", "what is a {0}", "dictionary: {0}"], some_text),
    ("spell_check|check_spelling|spelling", "Checks the spelling of a word", [("word|text|term", "string", w.word)], ["!check the spelling of {0}", "is {0} {spelled|written} {correctly|right}", "how do you spell {0}", "{0}, is that spelled right", "!correct {0}"], some_text),
    ("set_alarm|alarm|wake_up", "Sets an alarm", [("time|at|when", "string", _time)], ["!{set|make} an alarm {for|at} {0}", "!wake me {up |}at {0}", "alarm {at|for} {0}", "i {have to|must} get up at {0}", "i want to sleep until {0}"], done("The alarm is set for {0}.")),
    ("set_temperature|heating|thermostat|set_heating", "Sets the temperature of a room", [("room|place|where", "string", _one_of(w.ROOMS)), ("degrees|temperature|value", "integer", integer(12, 28))], ["!{heat|cool} the {0} to {1} degrees", "!set the {0} to {1} degrees", "{0} to {1} degrees", "i want {1} degrees in the {0}", "!make it {1} degrees in the {0}"], done("The {0} is set to {1} degrees.")),
    ("set_volume|volume|change_volume|speaker_volume", "Sets the volume", [("level|volume|value|percent", "integer", integer(0, 100))], ["!{set|change|turn} the volume to {0}", "volume {0}", "!make it {louder|quieter}, {0} percent", "sound to {0}", "i want the volume at {0}"], done("The volume is {0}.")),
    ("open_door|lock_door|door_lock|control_door", "Opens or locks a door", [("room|door|where", "string", _one_of(w.ROOMS)), ("state|action|value", "enum", _one_of(["on", "off"]))], ["!set the door of the {0} to {1}", "{0} door {1}", "door lock in the {0} {1}", "!switch the lock of the {0} {1}"], done("The door of the {0} is {1}.")),
    ("order_food|order|order_meal|delivery", "Orders food", [("dish|food|item|meal", "string", w.word), ("count|amount|quantity|number", "integer", integer(1, 12))], ["!order {1} {0}", "!order {1} times {0}", "i {want|would like} {1} portions of {0}", "{1} {0} please, i am hungry", "!bring {1} {0}"], done("I ordered {1} {0}.")),
    ("add_to_cart|cart|buy|shopping_cart", "Puts a product into the cart", [("product|item|article|name", "string", w.word)], ["!{buy|order|get} a {0}", "!{add|put} {a|the} {0} {to|into} {my|the} cart", "i take the {0}", "i want to buy the {0}", "{0} into the cart"], done("The {0} is in your cart.")),
    ("get_recipe|recipe|find_recipe|cook", "Finds a recipe", [("dish|food|meal|name", "string", w.word)], ["@a recipe for {0}", "how do i {cook|make|prepare|bake} {a|} {0}", "recipe: {0}", "i want to cook {0}", "!teach me to cook {0}"], some_text),
    ("count_words|word_count|text_length", "Counts the words of a text", [("text|input|string|document", "string", _phrase)], ["!count the words {in|of} {0}", "how many words {has|are in} {0}", "@the number of words in {0}", "how long is the text {0}"], number("The text has {n} words.")),
    ("run_query|sql|query_table|select", "Reads rows of a table", [("table|name|source", "string", w.word)], ["!{show|read|list|select} {the rows of |}the table {0}", "!query the table {0}", "what is in the table {0}", "@all rows of {0}", "select from {0}"], some_text),
    ("run_command|shell|execute|exec", "Runs a shell command", [("command|cmd|program", "string", w.word)], ["!{run|execute} {the command |}{0}", "!type {0} in the shell", "shell: {0}", "command: {0}", "!start the program {0}"], some_text),
    ("get_age|age|age_of|birthday", "Returns the age of a person", [("name|person|user", "string", w.person)], ["@the age of {0}", "how old is {0}", "%how old {0} is", "@{0}'s age", "when was {0} born"], number("{0} is {n} years old.", "age")),
    ("get_address|address|address_of|where_lives", "Returns the address of a person", [("name|person|user", "string", w.person)], ["@the address of {0}", "where does {0} live", "%where {0} lives", "@{0}'s address", "i want to visit {0}, where is that"], some_text),
    ("call_person|call|dial|start_call", "Calls a person", [("name|person|contact|user", "string", w.person)], ["!{call|ring|dial|phone} {0}", "!start a call with {0}", "i want to talk to {0} on the phone, dial", "!connect me with {0}"], done("I am calling {0}.")),
    ("invite|add_member|invite_user|add_user", "Invites a person to a group", [("name|person|user", "string", w.person), ("group|team|room", "string", w.word)], ["!invite {0} to {1}", "!add {0} to the group {1}", "{0} should join {1}", "{0} into the team {1}", "!make {0} a member of {1}"], done("{0} is now in {1}.")),
    ("close_ticket|cancel_order|close_order|cancel", "Cancels an order or closes a ticket", [("id|number|order_id|ticket", "integer", integer(1, 99999))], ["!{cancel|close|stop} {order|ticket|number} {0}", "i do not want {order|ticket} {0} any more", "{order|ticket} {0} is done, close it", "cancel {0}"], done("Number {0} is closed.")),
    ("track_package|package|track_parcel|parcel_status", "Tracks a parcel", [("id|number|code|parcel", "integer", integer(1, 99999))], ["!track {parcel|package} {0}", "where is {my |}{parcel|package} {0}", "@the position of parcel {0}", "{parcel|package} {0}, where is it", "when does parcel {0} come"], some_text),
    ("get_exchange_rate|rate|exchange_rate", "Returns the rate of a currency", [("currency|code|symbol", "string", _one_of(["USD", "EUR", "GBP", "JPY", "CHF", "INR", "SEK", "CAD"]))], ["@the {rate|exchange rate} of {0}", "how does {0} stand", "{0} rate", "%how much one {0} is"], number("The rate of {0} is {n}.", "rate")),
    ("take_photo|camera|photo|take_picture", "Takes a picture in a room", [("room|place|where|camera", "string", _one_of(w.ROOMS))], ["!{take|make} a {photo|picture} {in|of} the {0}", "!show me the {0}", "camera in the {0}", "@a picture of the {0}", "what does the {0} look like now"], done("I took a picture of the {0}.")),
    ("clean_room|vacuum|start_robot|clean", "Sends the robot to clean a room", [("room|place|where", "string", _one_of(w.ROOMS))], ["!{clean|vacuum|sweep} the {0}", "the {0} is dirty, {clean it|send the robot}", "!send the robot {to|into} the {0}", "robot: {0}"], done("The robot cleans the {0}.")),
    ("get_traffic|traffic|traffic_report|check_traffic", "{Gets|Returns} the traffic in a {city|place}", [CITY], ["@the traffic in {0}", "how {busy|full|crowded} are the {roads|streets} in {0}", "is there a traffic jam in {0}", "can i drive through {0} now", "%how the traffic is in {0}", "traffic: {0}", "i drive to {0}, are the roads free"], some_text),
    ("get_air_quality|air_quality|air|pollution", "{Gets|Returns} the air quality of a {city|place}", [CITY], ["@the air quality in {0}", "is the air {clean|dirty|good|bad} in {0}", "how {clean|dirty} is the air in {0}", "can i breathe well in {0}", "air in {0}", "@the pollution in {0}"], number("The air quality of {0} is {n}.", "index")),
    ("get_sunset|sunset|sunset_time|sun_times", "{Gets|Returns} the time of sunset in a {city|place}", [CITY], ["when does the sun {set|go down} in {0}", "@the sunset in {0}", "when does it get dark in {0}", "sunset: {0}", "%when the sun sets in {0}"], some_text),
    ("get_holidays|holidays|public_holidays", "Lists the public holidays of a country", [("country|land|state|name", "string", w.city)], ["@the holidays in {0}", "which holidays {do they have|are there} in {0}", "when do people in {0} have a day off", "public holidays: {0}", "is today a holiday in {0}"], some_text),
    ("subtract_days|days_until|days_left|countdown_days", "Counts the days until a day of the month", [("day|date|target", "integer", integer(1, 31))], ["how many days {until|till} the {0}", "!count the days until the {0}", "the {0} is in how many days", "days left until day {0}"], number("There are {n} days left.", "days")),
    ("square_root|sqrt|root", "Returns the square root of a number", [("number|x|value|n", "integer", integer(2, 999))], ["@the {square root|root} of {0}", "!take the root of {0}", "which number squared is {0}", "sqrt {0}", "root of {0}"], number("The root is {n}.")),
    ("power|pow|raise_power", "Raises a number to a power", [("base|x|number", "integer", integer(2, 20)), ("exponent|power|n", "integer", integer(2, 9))], ["@{0} to the power of {1}", "!raise {0} to the power {1}", "{0} ^ {1}", "{0} to the {1}th", "!take {0} to the exponent {1}"], number("The result is {n}.")),
    ("percent|percentage|percent_of", "Takes a percentage of a number", [("percent|rate|p", "integer", integer(1, 99)), ("number|amount|of|value", "integer", integer(2, 999))], ["@{0} percent of {1}", "@{0}% of {1}", "how much is {0} percent from {1}", "!take {0} percent of {1}", "a discount of {0} percent on {1}"], number("The result is {n}.")),
    ("compare_numbers|max_number|larger|maximum", "Returns the larger of two numbers", [("a|x|first|left", "integer", integer(0, 999)), ("b|y|second|right", "integer", integer(0, 999))], ["which is {larger|bigger|greater|more}, {0} or {1}", "is {0} {larger|bigger|more} than {1}", "@the {larger|bigger|maximum} of {0} and {1}", "!compare {0} and {1}", "{0} or {1}, which is more"], number("The larger one is {n}.")),
    ("convert_length|miles_to_km|to_kilometers", "Converts miles to kilometers", [("miles|distance|value|length", "integer", integer(1, 999))], ["{0} miles in {km|kilometers}", "!convert {0} miles to {km|kilometers}", "how many {km|kilometers} are {0} miles", "how {far|long} is {0} miles", "%how many kilometers {0} miles are"], number("That is {n} km.", "km")),
    ("convert_weight|pounds_to_kg|to_kilograms", "Converts pounds to kilograms", [("pounds|weight|value", "integer", integer(1, 999))], ["{0} pounds in {kg|kilograms}", "how heavy is {0} pounds in {kg|kilos}", "!convert the weight of {0} pounds to kg", "i weigh {0} pounds, how many kilos"], number("That is {n} kg.", "kg")),
    ("create_user|new_user|register|sign_up", "Creates a user account", [("name|user|username|person", "string", w.person)], ["!{create|open|make|set up} {a user|an account|an account for|a user named} {0}", "{0} needs an account", "!register {0}", "!sign {0} up", "new user {0}", "{0} is new here, make an account"], done("The account of {0} is there.")),
    ("delete_user|remove_user|deactivate_user", "Deletes a user account", [("name|user|username|person", "string", w.person)], ["!{delete|remove|close} the {account|user} {of |}{0}", "{0} has left, {remove the account|delete the user}", "!throw {0} out of the system", "{0} should no longer have an account"], done("{0} is removed.")),
    ("get_salary|salary|income|payroll", "Returns the salary of a person", [("name|person|employee", "string", w.person)], ["@the {salary|income|pay|wage} of {0}", "how much does {0} earn", "what is {0} paid", "%how much {0} earns", "@{0}'s {salary|wage}"], number("{0} earns {n}.", "salary")),
    ("get_birthday|birth_date|birthday_of", "Returns the birthday of a person", [("name|person|friend", "string", w.person)], ["when is {0}'s birthday", "@the birthday of {0}", "when does {0} have birthday", "on which day was {0} born", "%when {0} celebrates"], some_text),
    ("find_person|locate|where_is|location_of", "Finds out where a person is", [("name|person|user", "string", w.person)], ["where is {0} {now|at the moment|}", "!locate {0}", "i am looking for {0}, where", "in which room is {0}", "where did {0} go", "%where {0} is"], some_text),
    ("save_file|write_file|store|create_file", "Writes text into a file", [("path|file|filename|name", "string", _file), ("text|content|data|body", "string", _phrase)], ["!{write|save|store|put} {1} {to|into|in} {0}", "!create {the file |}{0} with {the text|the content} {1}", "save as {0}: {1}", "{0} should contain {1}", "new file {0}: {1}"], done("I wrote {0}.")),
    ("copy_file|duplicate|cp|backup_file", "Copies a file", [("from|source|path|file", "string", _file), ("to|target|copy|destination", "string", _file)], ["!{copy|duplicate} {0} to {1}", "!make a copy of {0} {named|called} {1}", "!back up {0} as {1}", "{1} should be a copy of {0}"], done("{1} is a copy of {0}.")),
    ("file_size|size_of_file|get_size|du", "Returns the size of a file", [("path|file|filename|name", "string", _file)], ["how {big|large|long} is {the file |}{0}", "@the size of {0}", "how many bytes has {0}", "!measure the file {0}", "size: {0}"], number("{0} has {n} bytes.", "bytes")),
    ("print_file|print_document|printer", "Prints a file on paper", [("path|file|filename|document", "string", _file)], ["!print {0} on paper", "!send {0} to the printer", "i need {0} on paper", "paper copy of {0}", "printer: {0}"], done("{0} is printed.")),
    ("start_server|start_service|restart|restart_service", "Starts a service", [("service|name|server|program", "string", w.word)], ["!{start|restart|launch|boot} the {service|server} {0}", "{0} is down, {start|restart} it", "the service {0} must run again", "restart: {0}"], done("{0} is running.")),
    ("stop_server|stop_service|shutdown|kill_service", "Stops a service", [("service|name|server|program", "string", w.word)], ["!{stop|halt|shut down|kill|end} the {service|server} {0}", "{0} should not run any more", "the service {0} must stop", "shut down: {0}"], done("{0} has stopped.")),
    ("check_status|health|ping|service_status", "Checks whether a service runs", [("service|name|server|host", "string", w.word)], ["is the {service|server} {0} {up|running|alive|down}", "!ping {the server |}{0}", "does the server {0} answer", "@the health of {0}", "how is the server {0}"], some_text),
    ("water_plant|water_plants|sprinkler", "Waters the plants of a room for some minutes", [("room|place|where", "string", _one_of(w.ROOMS)), ("minutes|duration|time", "integer", integer(1, 30))], ["!water the {0} for {1} minutes", "the plants in the {0} are dry, {1} minutes of water", "{1} minutes of water in the {0}", "!let the sprinkler run {1} minutes in the {0}"], done("The {0} is watered.")),
    ("open_window|close_window|window_control|blinds", "Opens or closes a window", [("room|place|where", "string", _one_of(w.ROOMS)), ("percent|position|level", "integer", integer(0, 100))], ["!{open|set} the window in the {0} to {1} percent", "window {0} {1}%", "!open the {0} window {1} percent", "it is stuffy in the {0}, window to {1} percent"], done("The window is at {1} percent.")),
    ("book_taxi|taxi|call_taxi|get_ride", "Orders a taxi to a place", [("to|destination|place|address", "string", w.city)], ["!{order|call|get} {me |}a {taxi|cab|car} to {0}", "i need a {ride|taxi|cab} to {0}", "taxi to {0}", "a car should bring me to {0}", "who drives me to {0}, get a taxi"], done("The taxi to {0} is coming.")),
    ("rent_car|car_rental|hire_car", "Rents a car in a city for some days", [CITY, ("days|duration|count", "integer", integer(1, 30))], ["!{rent|hire} a car in {0} for {1} days", "i need a {car|rental car} in {0} for {1} days", "{1} days with a car in {0}", "rental car, {0}, {1} days"], done("The car in {0} is booked.")),
    ("get_poem|write_poem|poem|make_poem", "Writes a poem about a thing", [("topic|about|subject|theme", "string", w.word)], ["!{write|make} a {poem|verse|rhyme} about {a|the} {0}", "a poem about {0}", "i want a poem on {0}", "rhyme something with {0}"], some_text),
    ("get_joke|joke|tell_joke", "Tells a joke about a thing", [("topic|about|subject", "string", w.word)], ["!tell {me |}a joke about {0}", "make me laugh with {0}", "a joke about {a|the} {0}", "do you know a joke on {0}"], some_text),
    ("find_synonym|synonym|synonyms|thesaurus", "Finds words of the same meaning", [("word|term|text", "string", w.word)], ["@a synonym {of|for} {0}", "another word for {0}", "what else can i say for {0}", "which word means the same as {0}", "synonyms: {0}"], some_text),
    ("subscribe|newsletter|follow", "Subscribes to a topic", [("topic|channel|subject|name", "string", w.word)], ["!subscribe {me |}to {0}", "!follow {the channel |}{0}", "i want all news from the channel {0}", "sign me up for {0}"], done("You follow {0}.")),
    ("rate_movie|rate|review|give_rating", "Rates a film with stars", [("title|movie|film|name", "string", _phrase), ("stars|rating|score", "integer", integer(1, 10))], ["!rate {the film |the movie |}{0} with {1} stars", "{1} stars for {0}", "!give {0} {1} stars", "the movie {0} deserves {1} stars"], done("{0} has {1} stars.")),
    ("pay_bill|transfer|send_money|pay", "Sends money to a person", [("to|recipient|name|person", "string", w.person), ("amount|sum|value|money", "integer", integer(1, 900))], ["!{send|pay|transfer|give} {0} {1} euros", "!{send|transfer|pay} {1} euros to {0}", "i owe {0} {1} euros, pay it", "{1} dollars to {0}", "{0} gets {1} dollars from me"], done("{0} got {1}.")),
]
OTHERS = [Kind(*row) for row in _PLAIN]         # only in the training text: there the known tools have more neighbours
