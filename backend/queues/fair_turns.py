"""Projects take turns in a queue: whoever imports a few images does not wait for another's thousands."""

from __future__ import annotations

import re

from rq import Queue

_PROJECT = re.compile(r"[A-Za-z]+-(\d+)")
# One script, as workers take jobs off the queue at any moment. A job's id says whose it is: `prelabel-7-…`; others,
# should there be any, count as one project. The first to have its turn is whoever is first now, so that doing it again
# changes nothing, and each project's own jobs stay in their order.
_TAKE_TURNS = """
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local projects, jobs = {}, {}
for _, id in ipairs(ids) do
  local project = string.match(id, '^%a+%-(%d+)') or ''
  if not jobs[project] then
    jobs[project] = {}
    table.insert(projects, project)
  end
  table.insert(jobs[project], id)
end
if #projects < 2 then return 0 end
local turns, turn = {}, 1
while #projects > 0 do
  local left = {}
  for _, project in ipairs(projects) do
    table.insert(turns, jobs[project][turn])
    if jobs[project][turn + 1] then table.insert(left, project) end
  end
  projects, turn = left, turn + 1
end
redis.call('DEL', KEYS[1])
for _, id in ipairs(turns) do redis.call('RPUSH', KEYS[1], id) end
return #turns
"""


def take_turns(queue: Queue) -> None:
    """Puts the waiting jobs in an order in which the projects alternate; to be called after jobs were queued.

    Raises:
        RedisError: Redis is away; the jobs then wait in the order in which they came.
    """
    queue.connection.register_script(_TAKE_TURNS)(keys=[queue.key])


def project_of(job_id: str) -> str:
    """The number of the project that a job is for, as the script reads it; '' where its id names none."""
    found = _PROJECT.match(job_id)
    return found[1] if found else ""
