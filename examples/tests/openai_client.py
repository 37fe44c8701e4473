"""OpenAI's SDK against the gateway. The first argument is the gateway's base URL, the second a scenario below.

Nothing here knows of the gateway: it is what any user of the SDK writes, and each scenario asserts what that user sees.
"""

import logging
import sys

import openai

BASE_URL = sys.argv[1]

# Of each response, in the order in which they came: the status and the header fields, also of those that are retried.
RESPONSES = []


def client(key, max_retries=0):
    """A client with that API key that remembers its responses."""

    def remember(response):
        RESPONSES.append((response.status_code, response.headers))

    http_client = openai.DefaultHttpxClient(event_hooks={"response": [remember]})
    return openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=max_retries, http_client=http_client)


def ask(api, words, **options):
    question = [{"role": "user", "content": f"Say {words} words"}]
    return api.create(model="fake", messages=question, **options)


def whole():
    """An answer in one piece, and the limits in its header."""
    raw = ask(client("alice").chat.completions.with_raw_response, 20, max_tokens=20)
    answer = raw.parse()
    assert answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.completion_tokens == 20, answer
    requests, tokens = limits(raw.headers, "requests"), limits(raw.headers, "tokens")
    assert requests[:2] == (1000, 999), requests
    assert tokens[0] == 100_000 and 99_000 < tokens[1] < 100_000, tokens
    for _, _, reset in (requests, tokens):
        assert reset.endswith("s"), reset

    # The second sees what the first has cost.
    raw = ask(client("alice").chat.completions.with_raw_response, 20, max_tokens=20)
    assert limits(raw.headers, "requests")[1] == 998
    assert limits(raw.headers, "tokens")[1] == tokens[1] - answer.usage.total_tokens, raw.headers


def streamed():
    """An answer as a stream, with the usage at its end if that is asked for."""
    text = ""
    for chunk in ask(client("alice").chat.completions, 50, stream=True):
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason
    assert reason == "stop" and len(text) > 100, (reason, text)
    again = ask(client("alice").chat.completions, 50)
    assert again.choices[0].message.content == text, "both ways say the same"

    chunks = list(ask(client("alice").chat.completions, 50, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 50 and not chunks[-1].choices, chunks[-1]

    with client("alice").chat.completions.with_streaming_response.create(
        model="fake", messages=[{"role": "user", "content": "Say 3 words"}], stream=True
    ) as response:
        assert limits(response.headers, "tokens")[0] == 100_000
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]", lines


def retried():
    """A denial is retried by the SDK, after just the time that the gateway says."""
    waits = []

    class Waits(logging.Handler):
        def emit(self, record):
            if record.msg.startswith("Retrying request in"):
                waits.append(record.args[0])

    log = logging.getLogger("openai._base_client")
    log.setLevel(logging.INFO)
    log.addHandler(Waits())
    api = client("alice", max_retries=1).chat.completions.with_raw_response
    for _ in range(50):
        raw = ask(api, 1)
        if raw.retries_taken:
            break
    assert raw.retries_taken == 1 and raw.status_code == 200, raw.retries_taken
    (before, denial), (after, _) = RESPONSES[-2:]
    assert (before, after) == (429, 200), RESPONSES
    wait_ms = int(denial["retry-after-ms"])
    assert waits == [wait_ms / 1000], (waits, wait_ms)
    assert 1 <= wait_ms <= 1_000 and denial["retry-after"] == "1", denial


def told_in_seconds():
    """Where a denial says in seconds alone when to come back, the SDK waits for so long."""
    waits = []
    openai._base_client.time.sleep = waits.append
    api = client("alice", max_retries=1).chat.completions
    ask(api, 1)
    try:
        ask(api, 1)
    except openai.RateLimitError:
        pass
    else:
        raise AssertionError("it came back early, and was let in")
    (_, denial), (status, _) = RESPONSES[-2:]
    assert status == 429 and "retry-after-ms" not in denial, RESPONSES
    assert waits == [int(denial["retry-after"])] and 50 <= waits[0] <= 60, (waits, denial)


def denied():
    """A denial is the error that the SDK has for it, and says what is exhausted."""
    api = client("alice").chat.completions
    ask(api, 1)
    try:
        ask(api, 1)
    except openai.RateLimitError as error:
        assert error.status_code == 429
        assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "requests", None), error.body
        assert "limit on requests" in error.message, error.message
        assert limits(error.response.headers, "requests")[1] == 0
    else:
        raise AssertionError("it was not denied")
    ask(client("bob").chat.completions, 1)


def exhausted():
    """A budget that runs out in a stream ends it as a limit on its length does; the next request is denied."""
    api = client("alice").chat.completions
    chunks = list(ask(api, 500, stream=True))
    said = sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)
    assert chunks[-1].choices[0].finish_reason == "length", chunks[-1]
    assert 5 < said < 100, said
    try:
        ask(api, 1, stream=True)
    except openai.RateLimitError as error:
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens"), error.body
        assert limits(error.response.headers, "tokens")[:2] == (60, 0)
    else:
        raise AssertionError("it was not denied")


def exhausted_response():
    """So does a stream of the responses API, also where the name of an event came before nothing was left."""
    events = list(client("alice").responses.create(model="fake", input="Say 500 words", stream=True))
    assert all(event.type.startswith("response.") for event in events), events
    assert events[0].type == "response.created" and events[-1].type == "response.incomplete", events
    assert events[-1].response.incomplete_details.reason == "max_output_tokens", events[-1]
    said = sum(1 for event in events if event.type == "response.output_text.delta")
    assert 5 < said < 100, said
    text = "".join(event.delta for event in client("bob").responses.create(model="fake", input="Say 9", stream=True)
                   if event.type == "response.output_text.delta")
    assert len(text) > 20, text


def failing():
    """Errors of the upstream and of the request are the errors that the SDK has for them."""
    api = client("alice").chat.completions
    for status, kind in [(404, openai.NotFoundError), (503, openai.InternalServerError)]:
        try:
            api.create(model=f"error-{status}", messages=[])
        except kind as error:
            assert (error.status_code, error.code) == (status, "on_demand"), error.body
        else:
            raise AssertionError(f"no error {status}")
    try:
        for _ in api.create(model="broken", messages=[{"role": "user", "content": "9"}], stream=True):
            pass
    except openai.APIConnectionError:
        pass
    else:
        raise AssertionError("a stream that broke off looked complete")


def unreachable():
    """An upstream that is not there is an error of the server, which the SDK retries."""
    try:
        client("alice").models.list()
    except openai.InternalServerError as error:
        assert (error.status_code, error.code) == (502, "upstream_unavailable"), error.body
    else:
        raise AssertionError("nobody is there")


def limits(headers, unit):
    """The limit, what remains, and the time until the reset."""
    limit, remaining = (int(headers[f"x-ratelimit-{name}-{unit}"]) for name in ("limit", "remaining"))
    return limit, remaining, headers[f"x-ratelimit-reset-{unit}"]


globals()[sys.argv[2]]()
