"""The verbs of the sale. They know SQL and the line, and no HTTP.

SQL commits first and Redis follows: a crash between the two leaves Redis behind and never ahead, and the next run finds
the rows and copies them. The gate of a new epoch is the one exception: it is written before the commit, and gives no
number until it is opened after the commit.
"""
