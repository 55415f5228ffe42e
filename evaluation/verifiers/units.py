"""What may follow a number without changing its value."""

import re

from pada_agent.evaluation.verifiers.number_notation import CURRENCY, GROUP_SPACE

_SYMBOLS = """
mm cm dm m km in ft yd mi nm µm μm Å ha ac mg g kg t oz lb lbs ml mL cl dl l L gal s ms ns µs μs sec secs min mins h hr hrs
d wk wks mo yr yrs V mV kV A mA W kW MW GW Wh kWh MWh J kJ MJ cal kcal N kN Pa kPa MPa hPa bar atm psi Hz kHz MHz GHz rpm
mol mmol °C °F ° ℃ ℉ rad deg Ω kΩ KB kB MB GB TB KiB MiB GiB bit bits bps Mbps px pt dB lx lm cd mph kph kmh fps sq cu
USD EUR GBP CHF INR JPY CNY AUD CAD pcs pc ct cts cents ¢
"""
_CHANGE_VALUE = """
hundred hundreds thousand thousands million millions billion billions trillion trillions quadrillion lakh lakhs crore crores
dozen dozens score scores gross half halves third thirds fourth fourths quarter quarters fifth fifths sixth sixths seventh
sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths millionth millionths percent
percents percentage pct permille ppm ppb basis point points squared cubed factorial root roots pi tau and or plus minus times
divided over under below above negative positive between per cent about approx approximately roughly around nearly almost
least most more less than not never remainder modulo mod bce ago noon midnight oclock clock
mille milliers mil millon millones milione milioni milhao milhoes miljoen miljoner miljoona millionen milliard milliards
milliarde milliarden miliardo miliardi milyon milyar tusen tusind tausend duizend honderd hundert cento cien ciento centaines
douzaine docena dutzend dozijn bin juta ribu ratus ezer sto sta tysiac procent prosent prozent prozente percento porciento
pourcent demi media medio halb halbe
"""
"""Words that say how much, or how: also of other languages."""

_KNOWN_SYMBOLS, _NO_UNITS = frozenset(_SYMBOLS.split()), frozenset(_CHANGE_VALUE.split())
_ORDINAL = re.compile(
    r"(?:(?:twent|thirt|fort|fift|sixt|sevent|eight|ninet)(?:y-.*|ieths?)|(?:eleven|twelf|(?:thir|four|fif|six|seven|eigh|nine)teen|.*illion)ths?)"
)
"""Twelfths, twentieths, twenty-fifths, billionths: parts, as the fractions above."""
_WORD = re.compile(r"[a-z]{3,20}(?:-[a-z]{2,20})?")
_FACTOR = re.compile(r"([A-Za-zµμΩÅ°℃℉¢]{1,5})(?:\^?-?[1-4])?")


def is_unit(rest: str, *, may_be_symbol: bool) -> bool:
    """Whether the text after a number only says what was counted or measured.

    A symbol may be attached (`12m2`), a word may not (`5x`). English words in lower case are accepted, unless they
    express a quantity (`dozen`, `thirds`, `below`).
    """
    attached = rest[0] not in f" {GROUP_SPACE}\t\n"
    text = rest.strip(f" {GROUP_SPACE}\t\n").rstrip(".")
    if (
        not text
        or (len(text) == 1 and text in CURRENCY)
        or (not attached and text in ("USD", "EUR", "GBP", "CHF", "INR"))
    ):
        return bool(text)
    if _is_symbol(text, attached=attached):
        return may_be_symbol
    words = text.split()
    return not attached and len(words) <= 4 and all(map(_is_word, words))


def _is_word(word: str) -> bool:
    return _WORD.fullmatch(word) is not None and not _ORDINAL.fullmatch(word) and not set(word.split("-")) & _NO_UNITS


def _is_symbol(text: str, *, attached: bool) -> bool:
    """`m2`, `m/s^2`, `kg·m`, `°C`."""
    factors = [_FACTOR.fullmatch(part) for part in re.split(r"\s?[/·*]\s?", text)] if len(text) <= 30 else [None]
    symbols = [match[1] for match in factors if match]
    if len(symbols) != len(factors) or not all(symbol in _KNOWN_SYMBOLS for symbol in symbols):
        return False
    return not attached or text != "m"  # 5m is also five million
