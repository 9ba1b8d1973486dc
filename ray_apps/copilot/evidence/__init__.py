"""What an answer may rest on: device records and documents, looked up as the caller's tenant."""
