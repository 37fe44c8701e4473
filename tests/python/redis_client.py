"""Runs checks by the published Python client, straight on Redis.

Started with the port of a server. Each line of standard input is a check as JSON: `kind` and `options` of the limit,
`prefix`, `key`, `cost`, and `now` in milliseconds, or null for the time of the server. Each is answered by one line: the
five fields of the decision.
"""

import json
import sys

import redis
from throttlekit import RedisBackend, from_spec


class Lasting:
    """A client whose keys outlive their time to live, for checks at times of the caller's making.

    The server lets keys expire by its own time. What a script writes and what takes away its end are one transaction, so
    that it makes no difference how slow the machine is.
    """

    def __init__(self, client):
        self._client = client

    def evalsha(self, sha, numkeys, *words):
        return self._run("evalsha", sha, numkeys, words)

    def eval(self, script, numkeys, *words):
        return self._run("eval", script, numkeys, words)

    def _run(self, command, script, numkeys, words):
        pipeline = self._client.pipeline(transaction=True)
        getattr(pipeline, command)(script, numkeys, *words)
        for key in words[:numkeys]:
            pipeline.persist(key)
        answer = pipeline.execute(raise_on_error=False)[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def main():
    client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))
    lasting = Lasting(client)
    limits = {}
    for line in sys.stdin:
        check = json.loads(line)
        at_callers_time = check["now"] is not None
        name = (check["kind"], json.dumps(check["options"]), check["prefix"], at_callers_time)
        if name not in limits:
            strategy = from_spec(check["kind"], check["options"])
            limits[name] = RedisBackend(lasting if at_callers_time else client, strategy, prefix=check["prefix"])
        decision = limits[name].check(check["key"], check["cost"], now=check["now"])
        answer = {
            "allowed": decision.allowed,
            "limit": decision.limit,
            "remaining": decision.remaining,
            "resetAt": decision.reset_at,
            "retryAfterMs": decision.retry_after_ms,
        }
        print(json.dumps(answer), flush=True)


main()
