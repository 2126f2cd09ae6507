"""From a Result to what people read: tables, plots, a page. Nothing new is computed here."""
