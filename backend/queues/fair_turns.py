"""Lets projects take turns in a queue: a project with a few images does not wait for another's thousands."""

from __future__ import annotations

import re

from rq import Queue

_PROJECT = re.compile(r"[A-Za-z]+-(\d+)")
# One script, as workers take jobs off the queue at any moment. A job's id names its project: `prelabel-7-…`; ids that
# name none count as one project. The project at the head of the queue has the first turn, so that running the script
# again changes nothing. Each project's jobs keep their order.
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
    """Reorders the waiting jobs so that the projects alternate; call this after queueing jobs.

    Raises:
        RedisError: Redis does not answer; the jobs then stay in the order in which they were queued.
    """
    queue.connection.register_script(_TAKE_TURNS)(keys=[queue.key])


def project_of(job_id: str) -> str:
    """The number of the job's project, as the script reads it; '' where the job's id names none."""
    found = _PROJECT.match(job_id)
    return found[1] if found else ""
