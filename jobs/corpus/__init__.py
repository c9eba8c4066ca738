"""A small generated corpus: pictures, sounds, clips and captions of twelve things.

Everything is drawn and synthesised from a seed, so the sample needs no network and carries nobody's
media. `concepts` says what there is, `pictures`, `sounds`, `clips` and `captions` make one medium
each, `broken` makes the files that every real corpus has too.
"""
