"""How well health score and failure risk predict the failures of machines that were not seen."""
