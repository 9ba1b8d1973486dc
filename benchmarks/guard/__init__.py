"""How well the guard tells attacks from harmless questions and passages, and how it is trained."""
