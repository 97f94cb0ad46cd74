"""What is heard when: probabilities of labels over time, and events with onset and offset.

scoring     probabilities of labels for a window's vector
events      events by two thresholds, as probabilities come
track       labels and events along a sound: what a finished sound and a stream share
files       probabilities and events as CSV, TSV, an Audacity label track
picture     the same as a picture, by matplotlib
result      `Timeline`
functions   `timeline`
stream      `Stream`: sound in blocks
"""
