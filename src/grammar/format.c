/* Named formats of JSON Schema as regular expressions over the whole string.
 *
 * Sources: RFC 3339 (date, time, date-time, duration), RFC 5321 (email), RFC 1123 (hostname), RFC 2673 and
 * 4291 (addresses), RFC 3986 (URI), RFC 4122 (UUID), RFC 6901 (JSON pointer). Dates know the length of months
 * and leap years; a leap second is not generated. */
#include "grammar/lang.h"

#include <string.h>

#define LEAP4 "(?:0[48]|[2468][048]|[13579][26])"
#define YEAR  "[0-9]{4}"
#define DATE                                                                                                 \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-" \
    "(?:0[1-9]|1[0-9]|2[0-8]))"                                                                              \
    "|(?:[0-9]{2}" LEAP4 "|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
#define HOUR  "(?:[01][0-9]|2[0-3])"
#define TIME  HOUR ":[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?(?:[Zz]|[+-]" HOUR ":[0-5][0-9])"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4  OCTET "\\." OCTET "\\." OCTET "\\." OCTET
#define H16   "[0-9A-Fa-f]{1,4}"
#define LS32  "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                 \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16  \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32          \
    "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16    \
    ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define ATOM       "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define PCT        "%[0-9A-Fa-f]{2}"
#define PCHAR      "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|" PCT ")"
#define SEGMENT_NC "(?:[A-Za-z0-9._~!$&'()*+,;=@-]|" PCT ")+"
#define AUTHORITY                                                                                            \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|" PCT ")*@)?(?:\\[(?:" IPV6                                           \
    "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|" PCT                \
    ")*)(?::[0-9]*)?"
#define ABEMPTY "(?:/" PCHAR "*)*"
#define TAIL    "(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define URI                                                                                                  \
    "[A-Za-z][A-Za-z0-9+.-]*:(?://" AUTHORITY ABEMPTY "|/(?:" PCHAR "+" ABEMPTY ")?|" PCHAR "+" ABEMPTY      \
    "|)" TAIL
#define RELATIVE "(?://" AUTHORITY ABEMPTY "|/(?:" PCHAR "+" ABEMPTY ")?|" SEGMENT_NC ABEMPTY "|)" TAIL
#define POINTER  "(?:/(?:[^~/]|~[01])*)*"
#define DURATION                                                                                             \
    "P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T" DTIME ")?|T" DTIME ")"
#define DTIME "(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"

static const struct {
    const char *name, *regex;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "[Tt]" TIME},
    {"duration", DURATION},
    {"email", ATOM "(?:\\." ATOM ")*@(?:" LABEL "(?:\\." LABEL ")*|\\[(?:" IPV4 "|IPv6:" IPV6 ")\\])"},
    {"hostname",
     "^(?!(?:.*\\.)?..--)" LABEL "(?:\\." LABEL ")*$"}, /* at most 253, see assert_format; no A-labels */
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"uri", URI},
    {"uri-reference", "(?:" URI "|" RELATIVE ")"},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    {"json-pointer", POINTER},
    {"relative-json-pointer", "(?:0|[1-9][0-9]*)(?:#|" POINTER ")"},
    /* known, and more than an automaton of ours holds */
    {"idn-email", ""},
    {"idn-hostname", ""},
    {"iri", ""},
    {"iri-reference", ""},
    {"uri-template", ""},
    {"regex", ""},
};

const char *format_regex(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        if (strcmp(formats[i].name, name) == 0) return formats[i].regex;
    return NULL;
}
