"""langchain-openai against corral serve and the demo model: chat, tools, structured output, Responses, embeddings."""
import server as wire
from server import Server

try:
    import pydantic
    import pytest
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
except ImportError:
    wire.run(__file__, "langchain_openai")


@pytest.fixture(scope="module")
def at():
    with Server("--quiet") as s:
        yield dict(model="demo", base_url=s.url + "/v1", api_key="none")


@pytest.fixture(scope="module")
def llm(at):
    return ChatOpenAI(temperature=0, max_tokens=200, **at)


class Point(pydantic.BaseModel):
    x: int


def test_chat(llm):
    whole = llm.invoke("What is Corral?").content
    assert "Corral" in whole and "".join(c.content for c in llm.stream("What is Corral?")) == whole


def test_tools(llm):
    @tool
    def get_weather(city: str) -> str:
        """The weather in a city"""
        return "Sunny in " + city

    call = llm.bind_tools([get_weather]).invoke("What is the weather in Paris?").tool_calls[0]
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(llm, method):
    assert isinstance(llm.with_structured_output(Point, method=method).invoke("A point, please."), Point)


def test_responses(at):
    answer = ChatOpenAI(temperature=0, use_responses_api=True, **at).invoke("What is Corral?")
    assert "Corral" in answer.content[0]["text"]


def test_embeddings(at):
    embed = OpenAIEmbeddings(check_embedding_ctx_length=False, **at)  # else it sends the ids of another tokenizer
    dog, again = embed.embed_documents(["a dog", "a dog"])
    assert len(dog) > 1 and dog == again


if __name__ == "__main__":
    wire.run(__file__, "langchain_openai")
