"""The human eye as a judge: pictures shown blind to people, what they answered, and what may be concluded from it."""
