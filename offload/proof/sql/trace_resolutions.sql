-- The raw messages that reached Silver or the duplicates after their rejection, with the layer.
{% import '_place.sql' as at %}
SELECT {{ at.place('resolution') }} AS place, toString(landed) AS landed, sent_at
FROM dlq_resolutions AS resolution
WHERE landed != '' AND {{ at.place('resolution') }} IN {places:Array(String)}
