/* What the kernel's own header says of TCP_INFO: compiled with that kernel's linux/tcp.h, and with
 * MEMBERS, the names found in its struct tcp_info. Reads lines "CASE HEX"; writes the struct's
 * size, the bits of each member, and each case's values in the members' order. */
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long long value;

#define MEMBER(name) \
    static void set_##name(struct tcp_info *info) { value all = ~0ULL; info->name = all; } \
    static value get_##name(const struct tcp_info *info) { return info->name; }
#include MEMBERS
#undef MEMBER

static const struct member {
    const char *name;
    void (*set)(struct tcp_info *);
    value (*get)(const struct tcp_info *);
} members[] = {
#define MEMBER(name) {#name, set_##name, get_##name},
#include MEMBERS
#undef MEMBER
};
enum { COUNT = sizeof members / sizeof *members };

int main(void) {
    const unsigned one = 1;
    static char name[256], hex[4096];
    printf("endian %s\n", *(const char *)&one ? "little" : "big");
    printf("size %zu\n", sizeof(struct tcp_info));
    for (int i = 0; i < COUNT; i++) {
        union { struct tcp_info info; unsigned char bytes[sizeof(struct tcp_info)]; } all;
        memset(&all, 0, sizeof all);
        members[i].set(&all.info);
        size_t first = 0, end = sizeof all;
        while (first < end && !all.bytes[first]) first++;
        while (end > first && !all.bytes[end - 1]) end--;
        printf("member %s %zu ", members[i].name, first);
        for (size_t at = first; at < end; at++) printf("%02x", all.bytes[at]);
        printf("\n");
    }
    while (scanf("%255s %4095s", name, hex) == 2) {
        union { struct tcp_info info; unsigned char bytes[sizeof(struct tcp_info)]; } reply;
        size_t len = strlen(hex) / 2;
        if (len != sizeof reply) {
            fprintf(stderr, "%s: %zu bytes, the header has %zu\n", name, len, sizeof reply);
            return 1;
        }
        for (size_t at = 0; at < len; at++) {
            unsigned byte;
            if (sscanf(hex + 2 * at, "%2x", &byte) != 1) return 1;
            reply.bytes[at] = byte;
        }
        printf("case %s", name);
        for (int i = 0; i < COUNT; i++) printf(" %llu", members[i].get(&reply.info));
        printf("\n");
    }
    return 0;
}
