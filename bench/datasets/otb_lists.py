"""Which sequences the subsets of OTB hold, by the lower-case names of their folders (facts of the benchmark's pages).

OTB-2013: Wu, Lim, Yang, CVPR 2013 (51 targets); TB-50 and TB-100: PAMI 2015 (50 and 100 targets).
"""

_OTB2013 = """
basketball bolt boy car4 cardark carscale coke couple crossing david david2 david3 deer dog1 doll dudek faceocc1
faceocc2 fish fleetface football football1 freeman1 freeman3 freeman4 girl ironman jogging jumping lemming liquor
matrix mhyang motorrolling mountainbike shaking singer1 singer2 skating1 skiing soccer subway suv sylvester tiger1
tiger2 trellis walking walking2 woman
"""
_TB50 = """
basketball biker bird1 blurbody blurcar2 blurface blurowl bolt box car1 car4 cardark carscale clifbar couple crowds
david deer diving dragonbaby dudek football freeman4 girl human3 human4 human6 human9 ironman jump jumping liquor
matrix motorrolling panda redteam shaking singer2 skating1 skating2 skiing soccer surfer sylvester tiger2 trellis
walking walking2 woman
"""
_REST_OF_TB100 = """
bird2 blurcar1 blurcar3 blurcar4 board bolt2 boy car2 car24 coke coupon crossing dancer dancer2 david2 david3 dog
dog1 doll faceocc1 faceocc2 fish fleetface football1 freeman1 freeman3 girl2 gym human2 human5 human7 human8 jogging
kitesurf lemming man mhyang mountainbike rubik singer1 skater skater2 subway suv tiger1 toy trans twinnings vase
"""

SUBSETS = {
    "otb2013": frozenset(_OTB2013.split()),
    "tb50": frozenset(_TB50.split()),
    "tb100": frozenset((_TB50 + _REST_OF_TB100).split()),
    "otb2015": frozenset((_TB50 + _REST_OF_TB100).split()),
}
