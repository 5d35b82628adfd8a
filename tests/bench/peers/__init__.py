"""Other systems of the field, measured beside Jelmore in a throwaway environment."""
