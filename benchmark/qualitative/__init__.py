"""The paper's qualitative tables of any class: main Tables 6 and 7, supplement Tables 5-7."""
