def picture(r): return ""
