/* base/list.h - intrusive doubly linked lists (part of base.h)
 *
 * A head is a node that links to itself. A zeroed node is not in any list.
 */
#ifndef MANYTAILS_BASE_LIST_H
#define MANYTAILS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_linked(const struct list *node)
{
    return node->next != NULL;
}
static inline void list_insert(struct list *before, struct list *node)
{
    node->prev = before->prev;
    node->next = before;
    before->prev->next = node;
    before->prev = node;
}
static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert(head, node);
}
static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert(head->next, node);
}
/* Also for a node that is in no list. */
static inline void list_remove(struct list *node)
{
    if (!node->next)
        return;
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = NULL;
}
/* First node, unlinked; NULL if empty. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *node = head->next;

    if (node == head)
        return NULL;
    list_remove(node);
    return node;
}
/* Moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)
#define LIST_FIRST(head, type, member) (list_empty(head) ? NULL : LIST_ENTRY((head)->next, type, member))
/* The body may remove `it` from the list, nothing else. */
#define LIST_EACH(it, head, type, member)                             \
    for (type *it = LIST_ENTRY((head)->next, type, member),           \
              *it##_next = LIST_ENTRY(it->member.next, type, member); \
         &it->member != (head); it = it##_next, it##_next = LIST_ENTRY(it->member.next, type, member))

#endif
