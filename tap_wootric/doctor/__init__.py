"""Finds out what is true of a live account, with few requests that only read; see docs/doctor.md.

    __main__        the command `tap-wootric-doctor`
      examination   which facts to look for, in which order
        lists       the facts of a list, from its rows     } requests, through
        days        the facts of a stream of daily totals  } `probe`
      estimate      how long a sync takes
      report        the facts as JSON, or for people

`evidence`, `fields`, `size` and `estimate` are pure: they are handed what was seen.
"""
