"""Singer tap for Wootric (InMoment): end users and survey responses, none of them lost."""
