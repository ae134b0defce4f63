"""Scored runs, sweeps and submissions to tables, figures, a report page or a site. No torch, no network."""
