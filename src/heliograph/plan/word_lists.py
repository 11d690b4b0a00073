"""Words that lint knows: data alone, so that a reviewer can read and mend it."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIRST_NAMES: Final = _words(
    """
    aaron abdul abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra ali alice amanda amelia
    amina amir ana andrea andreas andrew andrey angela anita anna anne antonio arjun arthur ashley barbara ben
    benjamin bernard brian bruno camila carlos carmen caroline catherine charles charlotte chen chiara chloe chris
    christian christine claire claudia daniel daniela david deborah deepak denis diana diego dmitry donald dorothy
    edward eleanor elena elizabeth emily emma enrique eric erik esther ethan eva evelyn fatima felix fernando fiona
    florian francesca francois frederic gabriel georg george giovanni giulia gregory guillaume gustavo hannah hans
    harry hassan heather heidi helen henry hiroshi hugo ian ibrahim igor ines ingrid irene isabella ivan jacob james
    jan jane jason javier jean jennifer jessica jesus joan joao johan john jonas jonathan jorge jose joseph joshua
    juan julian julie karen karin karl katarzyna kate katherine kenji kevin klaus kumar larissa lars laura lauren
    leila lena leonard li liam linda lisa louis lucas lucia luis lukas magdalena mahmoud manuel marco marcus margaret
    maria mariam marie marta martin mary mateo matthew maxim maya megan mehmet mei michael michelle miguel mike
    mohamed mohammed monica muhammad nadia nancy natalia nathan nicholas nicolas nina noah nora oleg oliver olivia
    omar oscar pablo pamela patricia patrick paul paula pavel pedro peter philip pierre priya rachel rafael raj rajesh
    ralf ramon raphael rebecca ricardo richard robert roberto roger ronald rosa ryan samantha samuel sandra sanjay
    sara sarah sebastian sergei sergio sharon simon sofia sonia sophie stefan stephanie stephen steven susan svetlana
    takashi tanja tatiana teresa theodore thomas timothy tobias tomas ulrich valentina vanessa victoria vijay vincent
    virginia vladimir walter wei wendy wilhelm william wolfgang xavier yasmin yuki yusuf yves zainab zoe
    """
)
"""Common first names of many countries, without those that are more often words, months, languages or tools."""

REPOSITORY_WORDS: Final = _words(
    """
    android api app apps backend bot charts cli client common config configs core deploy docs edge etl frontend
    gateway helm infra ios js k8s lib libs mobile monorepo ops pipeline platform plugin portal proxy repo repos sdk
    server service services site svc terraform tools ui utils web webapp website worker workers www
    """
)
"""Words of which one is nearly always in a repository's name that has hyphens."""

TEAM_WORDS: Final = _words(
    """
    analytics backend changes cloud code core crew data delivery design engineering experience finance frontend group
    growth guild history identity infra infrastructure insights integrations legal marketing mobile monitors notebooks
    operations ops platform product products quality release research sales search security source squad support team
    web
    """
)
"""Words by which an owner is told to be a team."""

PRIVATE_WORDS: Final[dict[str, frozenset[str]]] = {
    "an address of a person": _words("email phone fax mobile"),
    "a name": _words("username login nickname surname firstname lastname name author"),
    "a person or a customer": _words("user person member employee customer account tenant company organization team"),
    "a person's traits": _words("gender age birthday birthdate nationality religion health"),
    "a place": _words("address street zip postcode city latitude longitude location lat lon lng geo country region"),
    "a machine": _words("host hostname domain ip mac server subnet endpoint"),
    "where it was": _words("url uri link href referrer referer path filename folder directory bucket"),
    "code": _words(
        "repository branch commit sha tag revision project package code snippet identifier function variable"
    ),
    "what was said": _words(
        """
        query search term keyword pattern text string content body message comment note title subject label
        description input prompt answer payload value data json argument stack trace
        """
    ),
    "a secret": _words("token secret password key credential cookie signature pin"),
    "an identity": _words("id uuid guid hash digest fingerprint checksum serial"),
    "a number of a document": _words("ssn iban card passport license"),
    "a device": _words("device imei useragent browser"),
}
"""What the values of a property would be whose name ends in one of these words."""

OTHER_FORMS: Final[dict[str, frozenset[str]]] = {
    "repository": _words("repo repos"),
    "language": _words("lang langs"),
    "number": _words("num"),
    "count": _words("cnt"),
    "duration": _words("dur"),
    "organization": _words("org orgs organisation"),
    "configuration": _words("config cfg conf"),
    "authentication": _words("auth"),
    "message": _words("msg msgs"),
    "database": _words("db"),
    "administration": _words("admin"),
    "document": _words("doc docs"),
    "directory": _words("dir dirs"),
    "user": _words("usr"),
    "password": _words("pwd passwd"),
    "address": _words("addr"),
    "phone": _words("tel telephone"),
    "email": _words("mail"),
    "license": _words("licence"),
    "color": _words("colour"),
    "canceled": _words("cancelled"),
    "error": _words("err"),
    "maximum": _words("max"),
    "minimum": _words("min"),
    "average": _words("avg"),
    "percent": _words("pct"),
    "image": _words("img"),
    "picture": _words("pic"),
    "button": _words("btn"),
    "navigation": _words("nav"),
    "source": _words("src"),
    "reference": _words("ref refs"),
    "definition": _words("def defs"),
    "implementation": _words("impl impls"),
    "extension": _words("ext"),
    "application": _words("app apps"),
    "variable": _words("var vars"),
    "function": _words("fn func"),
    "property": _words("prop props"),
    "person": _words("people"),
    "child": _words("children"),
    "index": _words("indices"),
    "run": _words("ran"),
    "send": _words("sent"),
    "make": _words("made"),
}
"""Short forms and other spellings of a word."""
