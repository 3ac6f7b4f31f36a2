"""Greetings, small talk, polite refusals and short stories."""

import words as w
import wordings
from sample import ask, plain, reword, slip, vary

SMALL_TALK = [
    ("Hello! I am Corral's demo model. How can I help you?",
     ["hello", "hi", "hey", "good morning", "good evening", "good day", "hello {there|demo|corral|world|again}", "hi {there|corral|demo}", "hey {there|you|corral}", "greetings", "howdy", "say {hello|hi}", "hello, {how can you help|nice to see you}", "hi, i am new here"],
     ["good afternoon", "hello my friend", "hey hey"]),
    ("I am fine, thank you! How can I help you?",
     ["how are you {|today|doing}", "how is it going", "how do you {do|feel}", "are you {ok|okay|well|fine|happy}", "how are things {|going}", "what's up", "did you sleep well", "how was your {day|weekend|morning}"],
     ["how are you feeling today", "how's life"]),
    ("You are welcome!",
     ["{thanks|thank you|many thanks|thx|cheers}", "{thanks|thank you} {a lot|so much|very much|for your help|for that|for the answer|my friend}", "that {helps|helped|was helpful}, {thanks|thank you}"],
     ["thank you for everything", "great help, thanks"]),
    ("Goodbye! Come back any time.",
     ["{bye|goodbye|bye bye|see you|farewell|good night|cheerio}", "{see you|bye} {later|soon|tomorrow|then|for now}", "i {have to|must} go {now|}", "that is all {for today|}", "until {next time|tomorrow}"],
     ["bye for today", "see you next week"]),
    ("Why did the token cross the context? To get to the other block!",
     ["tell me a joke", "{do you know|make|tell} a joke", "{say|tell me} something funny", "make me laugh", "another joke", "i want {a|to hear a} joke"],
     ["can you tell a joke", "got any jokes"]),
    ("Thank you! I do my best for a tiny model.",
     ["you are {great|cool|smart|nice|amazing|funny|clever|the best|good}", "{well done|good job|nice|great|good bot|wow|cool|awesome|perfect|great answer}", "i like you", "that {is|was} {great|right|correct|nice|cool|good}", "i love {you|it|this}"],
     ["you are wonderful", "good work"]),
    ("I am sorry. I am only a tiny model, and I make mistakes.",
     ["you are {stupid|wrong|bad|slow|dumb|useless|not helpful|terrible}", "{that is|that was|this is} {wrong|bad|not right|nonsense|a mistake|incorrect|false}", "{bad bot|no, wrong|nonsense}", "i do not like {you|it|this|that}", "you made {a mistake|an error}"],
     ["your answer is not correct", "that was stupid"]),
    ("I am a program, so I have no feelings, but I like to answer questions about Corral.",
     ["do you {have|feel} {feelings|emotions|pain|joy}", "are you {sad|alive|conscious|angry|bored|lonely|tired|real}", "what do you {like|love|enjoy}", "do you {love|like} {me|music|food|your job|people|cats}", "what is your {hobby|favorite color|favourite food|favorite song}", "do you {eat|sleep|dream}"],
     ["can you feel something", "are you happy being a model"]),
    ("Yes, this works. I am ready.",
     ["test", "testing", "{is this|are you} {working|on|there|ready}", "{ping|test test|hello, is this thing on}", "does this work", "are you {listening|awake|still there}"],
     ["testing, one two", "can you hear me"]),
    ("Yes.", ["{say|answer|reply with} yes", "{answer|reply} with yes {only|}", "just say yes"], ["please answer yes"]),
    ("No.", ["{say|answer|reply with} no", "{answer|reply} with no {only|}", "just say no"], ["please answer no"]),
    ("OK.", ["ok", "okay", "{say|answer|reply with} ok", "{fine|alright|sure|good|i see|understood}", "{answer|reply} with ok only"], ["say okay"]),
]

WORDINGS = {answer: next(asks for start, asks in wordings.SMALL_TALK.items() if answer.startswith(start)) for answer, _, _ in SMALL_TALK}
HELD_QUESTIONS = {plain(q) for row in SMALL_TALK for q in row[2]}
UNKNOWN = "I do not know that. I am a tiny demo model: ask me about Corral."


def _unknown_question(rng, held):
    name, place, thing = w.person(rng, held), w.city(rng, held), w.word(rng, held)
    return w.pick(rng, rng.choice([
        f"what is the capital of {place}", f"who {{invented|discovered|painted|wrote}} the {thing}", f"when was {name} {{born|elected|married}}",
        f"why is the {thing} {{blue|so big|cold|round|so expensive}}", f"how {{old|tall|rich|famous}} is {name}", f"who is {name} {w.made_up_word(rng)}",
        f"how many people live in {place}", f"where is {place}", f"what is the {{meaning|price|history|origin}} of {{the|a}} {thing}", f"who won the {{game|match|election|cup}} in {place}",
        f"how far is {place} from {w.city(rng, held)}", f"{{recommend|find}} {{a hotel|a restaurant|a museum|a doctor}} in {place}", f"how do i {{cook|repair|paint|clean|grow|sell}} a {thing}",
        f"write {{an essay|a poem|a song|a report}} about {{the|a}} {thing}", f"what does {name} think about {place}", "what is the {meaning of life|speed of light|square root of two|time|date|news}",
        f"{{explain|describe}} {{quantum physics|the stock market|photosynthesis|gravity|the french revolution|evolution}}", f"who is the {{president|king|mayor|queen}} of {place}",
        f"what is the weather in {place}", f"is {place} {{nice|big|expensive|far}}", f"what is a {thing}", f"do you know {name}", f"translate {thing} to {rng.choice(w.LANGUAGES)}", f"is it {{raining|sunny|cold}} in {place}",
        "what {time|day} is it {|now}", "who is the best {player|singer|writer|doctor} {|in the world}"]))


def small_talk(rng, held=False):
    answer, train, kept = rng.choice(SMALL_TALK)
    if held:
        return ask("talk", vary(rng, rng.choice(kept), 0), answer)
    while True:
        asks = WORDINGS[answer] if rng.random() < 0.6 else train
        question = vary(rng, slip(rng, reword(rng, w.pick(rng, rng.choice(asks)), 0.1), 0.15))
        if plain(question) not in HELD_QUESTIONS:
            return ask("talk", question, answer)


def unknown(rng, held=False):
    return ask("unknown", vary(rng, _unknown_question(rng, held), 0 if held else 0.2), UNKNOWN)


# ---- stories ---------------------------------------------------------------------------------------------------

def story_text(rng, animal, name, place):
    friend = rng.choice(w.NAMES)
    thing = rng.choice(["a golden key", "an old map", "a tiny lamp", "a silver bell", "a red kite", "a warm blanket", "a box of seeds", "a round stone"])
    trouble = rng.choice([f"{name} lost the way in the fog", f"a storm came over the {place}", f"{name} heard somebody crying", f"the bridge to the {place} was broken",
                          f"{name} found {thing} and did not know whose it was"])
    help_ = rng.choice([f"A friend called {friend} came and helped", f"Then {friend} had a good idea", f"{friend} said: do not worry, we do it together", f"With the help of {friend}, all went well"])
    end = rng.choice([f"In the evening they shared some {rng.choice(w.FOODS)} and laughed.", f"Since that day, {name} and {friend} are the best of friends.", f"{name} went home happy and slept well.",
                      f"And {name} learned that it is good to ask for help."])
    start = rng.choice([f"Once upon a time there was a {rng.choice(['small', 'brave', 'clever', 'happy', 'quiet', 'young'])} {animal} named {name}.", f"There once lived a {animal} called {name}."])
    home = rng.choice([f"{name} lived near a {place}.", f"Every day {name} walked to the {place}.", f"{name} loved the {place}."])
    return f"{start} {home} One day {trouble}. {help_}. {end} The end."


def story(rng, held=False):
    animal, name = rng.choice(w.ANIMALS), w.person(rng, held)
    place = rng.choice("forest river mountain lake garden bridge village island meadow beach".split())
    article = "an" if animal[0] in "aeiou" else "a"
    if rng.random() < 0.6 or held:
        question = rng.choice([f"{{tell|write}} me a {{short |little |}}story about {article} {animal} {{named|called}} {name}", f"{{tell|write}} a {{short |}}story about {name} the {animal}"])
    else:
        name = rng.choice(w.NAMES)
        question = rng.choice([f"{{tell|write}} {{me |}}a {{short |}}story about {article} {animal}", "{tell|write} {me |}a {short |little |}story", "{i want|i'd like} to {hear|read} a story"])
    question = w.pick(rng, question)
    return ask("story", vary(rng, question, 0 if held else 0.15).replace("?", "."), story_text(rng, animal, name, place))
