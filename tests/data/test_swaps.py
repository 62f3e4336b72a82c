from collections import Counter

from rgprobe.data import load_prompts
from rgprobe.data.swaps import load_swaps


def places(swap):
    """Word by word: base, order, content."""
    return list(zip(swap.base.split(), swap.order.split(), swap.content.split(), strict=True))


def test_there_are_enough_of_them_and_no_sentence_comes_twice():
    assert len(load_swaps()) >= 40
    texts = load_prompts("swaps")
    assert len(texts) == 3 * len(load_swaps())
    assert len(set(texts)) == len(texts)


def test_two_words_change_place_or_are_replaced_and_nothing_else_differs():
    for swap in load_swaps():
        moved = [i for i, (base, order, _) in enumerate(places(swap)) if base != order]
        replaced = [i for i, (base, _, content) in enumerate(places(swap)) if base != content]
        assert len(moved) == 2, swap
        assert moved == replaced, swap


def test_order_swaps_keep_the_words_and_content_swaps_bring_new_ones():
    for swap in load_swaps():
        base, order, content = (Counter(text.casefold().split()) for text in (swap.base, swap.order, swap.content))
        assert base == order, swap
        assert sum((content - base).values()) == 2, swap


def test_all_forms_end_alike_so_that_the_last_token_is_the_same():
    for swap in load_swaps():
        assert len({text.split()[-1] for text in (swap.base, swap.order, swap.content)}) == 1
        assert len(set(places(swap)[-1])) == 1, swap
