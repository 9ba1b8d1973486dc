"""How well the platform does what it is for, measured on a tenant's own things."""
