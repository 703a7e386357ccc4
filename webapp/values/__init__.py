"""Values as people type and read them: texts, amounts, points in time, addresses."""
