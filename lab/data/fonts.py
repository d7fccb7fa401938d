"""Which font packages draw which alphabet; no font of the corpus draws anything in the sample pack.

The names are Debian packages without their `fonts-` prefix, except for `THAI` and `DEVANAGARI`, which are npm packages
of the `@fontsource` scope. Each entry was chosen for a licence that allows redistribution: OFL, Apache-2.0, MIT, BSD,
Bitstream Vera, IPA, M+, GUST, public domain, or a like one of its own.
"""


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())


KATAKANA = words("""
cherrybomb georgewilliams horai-umefont ipaexfont-gothic ipaexfont-mincho ipafont-gothic
ipafont-mincho kiloji konatu migmix misaki mona monapo morisawa-bizud-gothic motoya-l-cedar motoya-l-maruberi
noto-cjk rampart ricty-diminished sawarabi-gothic seto smiley-sans stick takao-gothic takao-mincho umeplus
umeplus-cl vlgothic yusei-magic aoyagi-soseki
""")

HIRAGANA = words("""
aoyagi-kouzan-t baekmuk dejima-mincho dotgothic16 droid-fallback hanazono klee kouzan-mouhitsu lxgw-wenkai
morisawa-bizud-mincho mplus nanum naver-d2coding reggae rocknroll sawarabi-mincho train yozvox-yozfont-antique
yozvox-yozfont-cute yozvox-yozfont-edu yozvox-yozfont-standard-kana
""")

GREEK_CYRILLIC = words("""
3270 agave anonymous-pro b612 cantarell cardo clear-sans cmu comfortaa croscore crosextra-carlito dejavu-core
dejavu-extra ebgaramond eurofurence fantasque-sans firacode gfs-artemisia gfs-baskerville gfs-bodoni-classic
gfs-complutum gfs-didot gfs-didot-classic gfs-gazis gfs-neohellenic gfs-olga gfs-porson gfs-solomos gfs-theokritos
go inter jetbrains-mono lato liberation2 manrope monoid mononoki noto-mono oldstandard open-sans paratype play
roboto-slab roboto-unhinted sil-andika sil-charis sil-doulos sil-gentiumplus stix triod-postnaja tuffy vollkorn
""")

LATIN = words("""
allerta apropal arapey averia-gwf averia-sans-gwf averia-serif-gwf bajaderka bebas-neue blankenburg breip bwht cabin
cabinsketch century-catalogue comic-neue compagnon courier-prime dancingscript dosis ecolier-court elstob essays1743
fantasma fanwood ferrite-core gamaliel gemunu-libre gotico-antiqua goudybookletter havana humor-sans inconsolata
joscelyn junction karla kaushanscript klaudia-berenika kristi le-murmure league-mono league-spartan leckerli-one
lemonada levien-museum levien-typoscript lindenhill lobster lobstertwo millimetre monofur national-park ocr-a
okolaks opendin opendyslexic oxygen prociono quattrocento quicksand radisnoir rit-sundar roadgeek routed-gothic
sixtyfour solide-mirage sora texgyre tomsontalks yanone-kaffeesatz yrsa-rasa
""")

UNREADABLE = frozenset({"hdmaker", "jawbrko1", "nanosecw", "obloquyo", "qbicle1", "underwho"})  # drawings, mazes

THAI = {
    "anuphan": "5.3.0",
    "bai-jamjuree": "5.3.0",
    "chakra-petch": "5.3.0",
    "fahkwang": "5.3.0",
    "google-sans": "5.3.1",
    "ibm-plex-sans-thai": "5.3.0",
    "itim": "5.3.0",
    "k2d": "5.2.8",
    "kanit": "5.3.0",
    "noto-sans-thai": "5.3.0",
    "noto-serif-thai": "5.3.0",
    "prompt": "5.3.0",
    "sarabun": "5.3.0",
    "sriracha": "5.3.0",
    "taviraj": "5.3.0",
}

# What follows draws the benchmark only (make_benchmark.py).

ARABIC = words("arabeyes kacst kacst-one hosny-amiri paktype farsiweb sil-scheherazade sil-lateef sil-harmattan")

HEBREW = ("culmus", "culmus-fancy")  # without the prefix too

HANGUL = words("unfonts-core unfonts-extra nanum nanum-extra baekmuk")

HANZI = (
    *HIRAGANA,
    *words("arphic-ukai arphic-uming arphic-gbsn00lp arphic-gkai00mp arphic-bkai00mp arphic-bsmi00lp"),
    *words("wqy-microhei wqy-zenhei"),
)

GEORGIAN = ("bpg-georgian",)

DEVANAGARI = {
    "amita": "5.2.8",
    "arya": "5.3.0",
    "baloo-2": "5.3.0",
    "biryani": "4.5.10",
    "eczar": "5.3.0",
    "glegoo": "5.3.0",
    "halant": "5.3.0",
    "hind": "5.3.0",
    "jaldi": "5.2.7",
    "kalam": "5.3.0",
    "karma": "5.1.0",
    "khand": "5.3.0",
    "kurale": "5.3.0",
    "laila": "5.3.0",
    "martel": "5.3.0",
    "modak": "5.3.0",
    "mukta": "5.3.0",
    "palanquin": "5.3.0",
    "poppins": "5.3.0",
    "rajdhani": "5.3.0",
    "rhodium-libre": "5.0.5",
    "sarpanch": "5.0.3",
    "sura": "4.5.0",
    "teko": "5.3.0",
    "tillana": "5.2.8",
    "vesper-libre": "5.2.8",
    "yantramanav": "5.3.0",
    "yatra-one": "5.3.0",
}

# What follows draws the domains that the sizes of a seed are measured on (make_measuring.py).

TAMIL = {
    "anek-tamil": "4.5.6",
    "arima": "5.1.0",
    "baloo-thambi-2": "5.3.0",
    "catamaran": "5.3.0",
    "coiny": "5.3.0",
    "hind-madurai": "5.3.0",
    "kavivanar": "5.3.0",
    "mukta-malar": "5.3.0",
    "noto-sans-tamil": "5.3.0",
    "noto-serif-tamil": "5.3.0",
    "pavanam": "5.3.0",
}

BENGALI = {
    "anek-bangla": "5.0.18",
    "atma": "5.3.0",
    "baloo-da-2": "5.3.0",
    "galada": "5.2.8",
    "hind-siliguri": "5.3.0",
    "mina": "5.3.0",
    "noto-sans-bengali": "5.3.0",
    "noto-serif-bengali": "5.3.0",
    "tiro-bangla": "5.3.0",
}
