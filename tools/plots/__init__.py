"""What tools/plot is made of: results (reading the file), drawing (the pictures' style), pictures, report
(HTML)."""
