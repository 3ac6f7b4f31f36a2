#include "chat/parse_int.h"
bool parse_channel(struct chat_parser *p)
{
    p->state = PARSE_TEXT;
    return true;
}
bool parse_message(struct chat_parser *p)
{
    p->state = PARSE_TEXT;
    return true;
}
void parse_harmony_finish(struct chat_parser *p)
{
    p->state = PARSE_TEXT;
}
