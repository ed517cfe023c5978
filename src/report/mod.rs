//! Tables, figures, the HTML page.
