"""An explanation whose every printed figure can be worked out by hand; no run had it."""

from deploy_prune.report.explanation import (
    Account,
    BandwidthReport,
    Explanation,
    FloorReport,
    LayerReport,
    LayerSide,
    ModelAccount,
    OperatorResidual,
    PartReport,
    RoofsReport,
)

EXPLANATION = Explanation(
    roofs=RoofsReport(100e9, (BandwidthReport(2**20, 50e9), BandwidthReport(2**27, 10e9)), 0.0005, 16),
    dense_ms=10.0,
    pruned_ms=5.0,
    mac_reduction=4.0,
    unplaced_macs=0,
    parts=(
        PartReport("compute", 41, 41, 7.3, 2.92, 4_000_000, 1_000_000, 1.095),
        PartReport("memory", 0, 0, 0.0, 0.0, 0, 0, 0.0),
        PartReport("overhead", 1, 1, 0.8, 0.88, 8_000, 2_000, 0.68),
        PartReport("glue", 18, 20, 0.9, 0.7, 0, 0, 0.475),
        PartReport("between", 0, 0, 1.0, 0.5, 0, 0, 0.25),
    ),
    layers=(
        *(
            LayerReport(
                f"block.{i}",
                LayerSide(0.2 + 0.01 * i, 2, 1_000_000, 2**20, 0.5, 0.25, 0.0, "compute", 0.0),
                LayerSide(0.1, 3, 250_000, 2**19, 0.25, 0.25, 0.0, "overhead", 0.25),
            )
            for i in range(20)
        ),
        LayerReport("resize", LayerSide(1.0, 1, 0, 2**20, 0.0, 0.1, 0.0, None, 0.0), None),
    ),
)
FLOOR = FloorReport(
    total_ms=3.5, narrowest_ms=1.0, frozen_ms=0.75, undecided_ms=0.25, post_processing_ms=1.0, overhead_ms=0.5,
    dense_ms=10.5, std_ms=0.2,
)  # fmt: skip
ACCOUNT = Account(FLOOR, ModelAccount((OperatorResidual("Conv", 0.03),), (), ("a", "b"), (), 1.02, 0.05))
