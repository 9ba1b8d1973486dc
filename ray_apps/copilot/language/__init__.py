"""English text: sentences, words, numbers and codes."""
