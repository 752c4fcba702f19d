"""Singer tap for Wootric (InMoment): end users, survey responses and more, none of them lost."""
