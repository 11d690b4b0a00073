"""What a text can be that nobody may send: a closed list."""

from __future__ import annotations

import enum


class Sensitive(enum.StrEnum):
    """A kind of personal or secret data, as far as a text shows it by itself."""

    PRIVATE_KEY = "private_key"
    """A private key: PEM, OpenSSH, PuTTY, age, or the beginning of one in base64."""
    SECRET_TOKEN = "secret_token"  # noqa: S105 - the name of a kind
    """A credential of a well-known format, such as AWS, GitHub, Slack or a JSON Web Token; see `formats`."""
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    """A password: beside a word that says so, in a URL, or letters of both cases with digits and signs."""
    LICENCE_KEY = "licence_key"
    """Three or more groups of capitals and digits, of one length."""
    EMAIL = "email"
    """An e-mail address, or a person's account at a host."""
    URL = "url"
    """An address with a scheme, such as ``https://…``, ``ssh://…`` or ``git@host:…``."""
    IP_ADDRESS = "ip_address"
    """An IPv4 or IPv6 address."""
    MAC_ADDRESS = "mac_address"
    """The address of a network card."""
    HOST = "host"
    """A host's name with its domain."""
    FILE_PATH = "file_path"
    """A path from a root, a home or a drive."""
    POSTAL_ADDRESS = "postal_address"
    """A street with a number."""
    PAYMENT_CARD = "payment_card"
    """13 to 19 digits of a card issuer's range whose check digit (Luhn, ISO/IEC 7812-1) is right."""
    BANK_ACCOUNT = "bank_account"
    """An IBAN whose check digits (ISO 13616) are right."""
    NATIONAL_ID = "national_id"
    """A person's number in a state's register whose form, and check digit where it has one, are right."""
    PHONE = "phone"
    """A telephone number in international form, or in groups as people write it."""
    LONG_DIGITS = "long_digits"
    """Seven or more digits that are not a date: a phone, an account, a customer, a time."""
    CODE = "code"
    """Source code, a query, a pattern or a command."""
    PERSON_NAME = "person_name"
    """A title or a common given name beside another name. Most names cannot be told from other words."""
    ENCODED_TEXT = "encoded_text"
    """A text in base64 or hexadecimal digits, whatever it says."""
    HIGH_ENTROPY = "high_entropy"
    """A hash, a random id or a key of no known format: letters and digits as chance mixes them."""
