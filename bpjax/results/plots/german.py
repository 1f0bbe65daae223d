"""The words of the figures in German; `{}` stands for a number or a name."""

GERMAN = {
    # axes
    "learning rate": "Lernrate",
    "learning rate η": "Lernrate η",
    "momentum": "Momentum",
    "momentum coefficient α": "Momentum-Koeffizient α",
    "epoch": "Epoche",
    "epochs": "Epochen",
    "step": "Schritt",
    "steps": "Schritte",
    "error": "Fehler",
    "accuracy": "Genauigkeit",
    "seed": "Startwert",
    "epochs to the goal": "Epochen bis zum Ziel",
    "epochs to the goal (median, 95 %)": "Epochen bis zum Ziel (Median, 95 %)",
    "median epochs to the goal": "Epochen bis zum Ziel (Median)",
    "runs that reach the goal (%)": "Läufe, die das Ziel erreichen (%)",
    "runs not yet at the goal (%)": "Läufe noch nicht am Ziel (%)",
    "error (median, quartiles)": "Fehler (Median, Quartile)",
    "never": "nie",
    "no data": "keine Daten",
    # a sweep
    "Which settings reach the goal?": "Welche Einstellungen erreichen das Ziel?",
    "How long does training take?": "Wie lange dauert das Training?",
    "How does the error fall?": "Wie sinkt der Fehler?",
    "When do runs reach the goal?": "Wann erreichen Läufe das Ziel?",
    "{}: which settings reach the goal?": "{}: Welche Einstellungen erreichen das Ziel?",
    "{}: how long does training take?": "{}: Wie lange dauert das Training?",
    "{}: how does the error fall?": "{}: Wie sinkt der Fehler?",
    "{}: when do runs reach the goal?": "{}: Wann erreichen Läufe das Ziel?",
    "Most at {}: {} of {} runs (95 % interval {} to {} %).": "Die meisten bei {}: {} von {} Läufen (95-%-Intervall "
    "{} bis {} %).",
    "Fastest at {}: {} epochs (median, 95 % interval {} to {}).": "Am schnellsten bei {}: {} Epochen (Median, "
    "95-%-Intervall {} bis {}).",
    "Fastest at {}: {} epochs (median, 95 % interval from {}).": "Am schnellsten bei {}: {} Epochen (Median, "
    "95-%-Intervall ab {}).",
    "Fastest at {}: {} epochs (median).": "Am schnellsten bei {}: {} Epochen (Median).",
    "In no setting do half of the runs reach the goal.": "Bei keiner Einstellung erreicht die Hälfte der Läufe das "
    "Ziel.",
    "At {}: half of the runs after {} epochs, 95 % interval {} to {}; {} of {} runs reach it.": "Bei {}: die Hälfte "
    "der Läufe nach {} Epochen, 95-%-Intervall {} bis {}; {} von {} Läufen erreichen es.",
    "At {}: half of the runs after {} epochs; {} of {} runs reach it.": "Bei {}: die Hälfte der Läufe nach {} Epochen; "
    "{} von {} Läufen erreichen es.",
    "At {}: {} of {} runs reach it.": "Bei {}: {} von {} Läufen erreichen es.",
    "At the fastest setting: {}.": "Bei der schnellsten Einstellung: {}.",
    "learning rate {}": "Lernrate {}",
    "momentum {}": "Momentum {}",
    "No run reaches the goal.": "Kein Lauf erreicht das Ziel.",
}
