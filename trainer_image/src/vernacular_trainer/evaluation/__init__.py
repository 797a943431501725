"""Base against tuned on held-out questions: ask both alike, score by rule, judge with an interval."""
