"""Names of input events (evdev codes, which virtio-input uses), and a US keyboard as characters."""

from micropython import const

SYN = const(0)
KEY = const(1)
REL = const(2)
ABS = const(3)
LED = const(0x11)

TYPES = {0: "SYN", 1: "KEY", 2: "REL", 3: "ABS", 4: "MSC", 5: "SW", 0x11: "LED", 0x12: "SND", 0x14: "REP"}

# The names of consecutive codes from the number on; "-" for a code without a name.
_KEYS = (
    (
        0,
        "RESERVED ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE"
        " ENTER LEFTCTRL A S D F G H J K L SEMICOLON APOSTROPHE GRAVE LEFTSHIFT BACKSLASH Z X C V B N M COMMA"
        " DOT SLASH RIGHTSHIFT KPASTERISK LEFTALT SPACE CAPSLOCK F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK"
        " SCROLLLOCK KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS KP1 KP2 KP3 KP0 KPDOT - ZENKAKUHANKAKU 102ND F11"
        " F12 RO KATAKANA HIRAGANA HENKAN KATAKANAHIRAGANA MUHENKAN KPJPCOMMA KPENTER RIGHTCTRL KPSLASH SYSRQ"
        " RIGHTALT LINEFEED HOME UP PAGEUP LEFT RIGHT END DOWN PAGEDOWN INSERT DELETE MACRO MUTE VOLUMEDOWN"
        " VOLUMEUP POWER KPEQUAL KPPLUSMINUS PAUSE SCALE KPCOMMA HANGEUL HANJA YEN LEFTMETA RIGHTMETA COMPOSE"
        " STOP AGAIN PROPS UNDO FRONT COPY OPEN PASTE FIND CUT HELP MENU CALC SETUP SLEEP WAKEUP FILE",
    ),
    (155, "MAIL BOOKMARKS COMPUTER BACK FORWARD"),
    (161, "EJECTCD - NEXTSONG PLAYPAUSE PREVIOUSSONG STOPCD RECORD REWIND - - CONFIG HOMEPAGE REFRESH EXIT"),
    (183, "F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24"),
    (217, "SEARCH"),
    (224, "BRIGHTNESSDOWN BRIGHTNESSUP MEDIA"),
)
_BUTTONS = (
    (0x100, "0 1 2 3 4 5 6 7 8 9"),
    (0x110, "LEFT RIGHT MIDDLE SIDE EXTRA FORWARD BACK TASK"),
    (0x120, "TRIGGER THUMB THUMB2 TOP TOP2 PINKIE BASE BASE2 BASE3 BASE4 BASE5 BASE6"),
    (0x130, "SOUTH EAST C NORTH WEST Z TL TR TL2 TR2 SELECT START MODE THUMBL THUMBR"),
    (0x140, "TOOL_PEN TOOL_RUBBER TOOL_BRUSH TOOL_PENCIL TOOL_AIRBRUSH TOOL_FINGER TOOL_MOUSE TOOL_LENS"),
    (0x14A, "TOUCH STYLUS STYLUS2"),
    (0x150, "GEAR_DOWN GEAR_UP"),
)
_REL = ((0, "X Y Z RX RY RZ HWHEEL DIAL WHEEL MISC - WHEEL_HI_RES HWHEEL_HI_RES"),)
_ABS = (
    (0, "X Y Z RX RY RZ THROTTLE RUDDER WHEEL GAS BRAKE"),
    (0x10, "HAT0X HAT0Y HAT1X HAT1Y HAT2X HAT2Y HAT3X HAT3Y PRESSURE DISTANCE TILT_X TILT_Y TOOL_WIDTH"),
    (0x2F, "MT_SLOT MT_TOUCH_MAJOR MT_TOUCH_MINOR MT_WIDTH_MAJOR MT_WIDTH_MINOR MT_ORIENTATION MT_POSITION_X"),
    (0x36, "MT_POSITION_Y MT_TOOL_TYPE MT_BLOB_ID MT_TRACKING_ID MT_PRESSURE MT_DISTANCE MT_TOOL_X MT_TOOL_Y"),
)
_LED = ((0, "NUML CAPSL SCROLLL COMPOSE KANA SLEEP SUSPEND MUTE MISC MAIL CHARGING"),)
_SYN = ((0, "REPORT CONFIG MT_REPORT DROPPED"),)
_MSC = ((0, "SERIAL PULSELED GESTURE RAW SCAN TIMESTAMP"),)
_TABLES = {0: _SYN, 1: _KEYS, 2: _REL, 3: _ABS, 4: _MSC, 0x11: _LED, 0x14: ((0, "DELAY PERIOD"),)}

PROPERTIES = "POINTER DIRECT BUTTONPAD SEMI_MT TOPBUTTONPAD POINTING_STICK ACCELEROMETER".split()


def name(kind, code):
    """'KEY_A', 'BTN_LEFT', 'REL_WHEEL', 'KEY_0x1f3' for a code without a name."""
    prefix = TYPES.get(kind, "EV_%#x" % kind)
    table = _TABLES.get(kind, ())
    if kind == KEY and 0x100 <= code < 0x160:
        prefix = "BTN"
        table = _BUTTONS
    for first, text in table:
        if code >= first:
            words = text.split()
            if code - first < len(words) and words[code - first] != "-":
                return "%s_%s" % (prefix, words[code - first])
    return "%s_%#x" % (prefix, code)


def code(text):
    """(type, code) of a name; ValueError for one that is not in the tables."""
    prefix, _, word = text.partition("_")
    for kind in TYPES:
        table = _BUTTONS if kind == KEY and prefix == "BTN" else _TABLES.get(kind, ())
        if prefix == TYPES[kind] or (kind == KEY and prefix == "BTN"):
            for first, names in table:
                names = names.split()
                if word != "-" and word in names:
                    return kind, first + names.index(word)
    raise ValueError("no event is called %r" % text)


# What the keys of codes 0 to 57 are on a US keyboard; \0: no character.
_PLAIN = b"\0\x1b1234567890-=\x7f\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 "
_SHIFT = b'\0\x1b!@#$%^&*()_+\x7f\tQWERTYUIOP{}\r\0ASDFGHJKL:"~\0|ZXCVBNM<>?\0*\0 '
# The others, as a VT100 sends them; the keypad's numbers are below.
_SEQUENCES = {
    96: b"\r",
    98: b"/",
    74: b"-",
    78: b"+",
    86: b"\\",
    102: b"\x1b[H",
    103: b"\x1b[A",
    104: b"\x1b[5~",
    105: b"\x1b[D",
    106: b"\x1b[C",
    107: b"\x1b[F",
    108: b"\x1b[B",
    109: b"\x1b[6~",
    110: b"\x1b[2~",
    111: b"\x1b[3~",
}
_KEYPAD = {71: 102, 72: 103, 73: 104, 75: 105, 77: 106, 79: 107, 80: 108, 81: 109, 82: 110, 83: 111}
_KEYPAD_DIGITS = b"789-456+1230."  # codes 71 to 83

_NUMLOCK = const(69)
_CAPSLOCK = const(58)


class Keymap:
    """A US keyboard: feed() turns key events into the bytes that a terminal would send.

    Shift, Ctrl, Alt (sends ESC first), Caps Lock and Num Lock are followed; .caps and .num tell
    the state of the last two, .changed is set when one of them changed, for the LEDs.
    """

    def __init__(self):
        self.caps = False
        self.num = True
        self.changed = False
        self._held = set()

    def feed(self, code, value):
        """code: of a key event; value: 1 pressed, 2 repeated, 0 released. The bytes typed, if any."""
        if code in (29, 97, 42, 54, 56, 100):  # Ctrl, Shift, Alt on both sides
            if value:
                self._held.add(code)
            else:
                self._held.discard(code)
            return b""
        if code in (_CAPSLOCK, _NUMLOCK):
            if value == 1:
                self._lock(code)
            return b""
        if not value:
            return b""
        typed = self._character(code)
        alt = 56 in self._held or 100 in self._held
        return b"\x1b" + typed if typed and alt else typed

    def _lock(self, code):
        if code == _CAPSLOCK:
            self.caps = not self.caps
        else:
            self.num = not self.num
        self.changed = True

    def _character(self, code):
        if code in _KEYPAD and self.num:
            return _KEYPAD_DIGITS[code - 71 : code - 70]
        code = _KEYPAD.get(code, code)
        if code in _SEQUENCES:
            return _SEQUENCES[code]
        if code >= len(_PLAIN) or not _PLAIN[code]:
            return b""
        shift = 42 in self._held or 54 in self._held
        char = _PLAIN[code]
        if shift != (self.caps and 97 <= char <= 122):
            char = _SHIFT[code]
        if 29 in self._held or 97 in self._held:
            return self._control(char)
        return bytes((char,))

    def _control(self, char):
        """Ctrl and a character: of two columns of ASCII, Space and / there is one."""
        if 64 <= char < 96 or 97 <= char <= 122:
            return bytes((char & 31,))
        if char == 32:
            return b"\0"
        return b"\x1f" if char in b"/?" else bytes((char,))
