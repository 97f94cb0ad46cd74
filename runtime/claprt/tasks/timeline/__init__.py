"""What is heard when: probabilities of labels over time, and events with onset and offset.

files       probabilities and events as CSV, TSV, an Audacity label track
picture     the same as a picture, by matplotlib
result      `Timeline`
functions   `timeline`
"""
