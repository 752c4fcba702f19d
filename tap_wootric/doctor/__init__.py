"""Examines a live account with a few read-only requests; see docs/doctor.md.

__main__     the command `tap-wootric-doctor`
  report     what was found, for people or as JSON
  facts      a function for each fact
  estimate   what syncs take
    probe    the requests
"""
