"""Dead letters: finding their bytes, showing them safely, publishing them again."""
