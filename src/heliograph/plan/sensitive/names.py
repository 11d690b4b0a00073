"""Common given names that are neither words of a product's language nor places, languages or programs.

Only so far can names be told: *Will*, *Mark*, *Grace*, *Ruby*, *Jordan* and *Jenkins* are other things as well. The
names are among the most frequent of several countries' public lists of given names.
"""

from __future__ import annotations

from typing import Final

_LIST: Final = """
aaron adam adrian agnieszka ahmed aisha alejandro aleksandr alessandro alexander alexandra alice alicia amanda
amelie andrea andreas andrew angela anita anna anne annette antoine antonio arjun arthur ashley barbara beatriz
benjamin bernd birgit bjorn brandon brian camille carlos carmen carol caroline catherine charlotte cheryl
christian christina christine christoph christopher clara claudia cynthia daniel daniela david deborah deepak
denise dennis diana diego dieter dimitri dmitri dmitry donald donna doris dorothy douglas edward elena elizabeth
emily emma erik esther eva fatima felipe fernando francesca francesco francisco francois frederic gabriel
gabriela george gerald giovanni giulia giuseppe gonzalo gregory guillaume gunter gustavo hannah harald hassan
heather heidi heinrich helen helga hiroshi ibrahim igor ingrid irene isabel isabella ivan jacob jacqueline
jacques jakob jakub james jane janet jason javier jeffrey jennifer jeremy jerry jessica joachim joanna johan
johann johannes john jonathan jorge jose joseph joshua juan judith jurgen karen katarzyna katherine kathleen
katrin kenji kenneth kevin khadija kimberly klaus krzysztof larissa laura lauren laurent leonardo linda lisa
lorenzo louise luca lucas lucia luis lukas magdalena malgorzata manfred manuel manuela marcel marcin marco marek
margaret maria marie markus marta martha martin mateo matthew matthias michael michelle miguel mikhail mohamed
mohammed monika monique muhammad nancy natalia natalie natasha nathalie nicholas nicolas nicole nikhil nikolai
nina olga oliver olivia olivier oscar pablo pamela patricia patrick paula pauline pedro petra philippe pierre
piotr priya rachel rafael rahul rajesh ralf raymond rebecca renate ricardo richard robert roberto ronald rosa
russell sabine samantha samuel sandra sanjay sara sarah sebastian sergei sergey sharon shirley silvia simone
sofia sofie sophia sophie stefan stefanie stephanie stephen steven suresh susan susanne svetlana takashi tatiana
teresa theresa thierry thomas timothy tomasz torsten ulrich ursula valentina vanessa veronica vincent vladimir
walter wanda wei werner wilhelm william wolfgang yann yasmin yuki yusuf zoe
"""

GIVEN_NAMES: Final = frozenset(_LIST.split())
"""In small letters of ASCII."""
