"""The sample that the benchmarks of detection are about: WS2 with Mo, a field of 7.5 nm."""

# 7.5 V_S and 2.3 V_S2 among 600 chalcogen columns, 6 Mo_W and 1.3 V_W among 600 metal columns
PREVALENCE = {"V_S": 0.0125, "V_S2": 0.0038, "Mo_W": 0.01, "V_W": 0.0022}
KINDS = tuple(PREVALENCE)
STATES = ("W", "Mo", "S2", "S")
