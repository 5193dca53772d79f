"""What of certificates is open to anybody who has the number, which nobody guesses."""

PUBLIC_CERTIFICATES = {"GET /api/v1/certificates/{number:str}"}
